// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTableBuilder`]: a table for any machine.

use std::sync::Arc;

use notify_core::{Capability, Vm};

use crate::slots::Slots;
use crate::state::State;
use crate::sync::{Condvar, Mutex};
use crate::table::Shared;
use crate::translation::Translation;
use crate::{Error, MsiMessage, Observer, Platform, RoutingTable};

/// More GSIs than any kernel has had; a machine that claims more is given no more.
pub(crate) const MOST_GSIS: u32 = 1 << 16;

/// Builds a [`RoutingTable`] for a machine that is not of this architecture's usual kind.
#[derive(Debug)]
#[must_use]
pub struct RoutingTableBuilder {
    vm: Arc<dyn Vm>,
    platform: Platform,
    reserved: Option<u32>,
    translation: Translation,
    observer: Option<Arc<dyn Observer>>,
}

impl RoutingTableBuilder {
    pub(crate) fn new(vm: Arc<dyn Vm>) -> Self {
        Self {
            vm,
            platform: Platform::default(),
            reserved: None,
            translation: Translation::default(),
            observer: None,
        }
    }

    /// The machine's kind (default: a full irqchip of the host's architecture).
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// How many of the lowest GSIs [`RoutingTable::lease`] leaves alone (default:
    /// [`Platform::reserved_gsis`]). A split irqchip reserves as many as it was created with.
    pub fn reserved_gsis(mut self, count: u32) -> Self {
        self.reserved = Some(count);
        self
    }

    /// A translation through which every message passes before the kernel sees it (default: none):
    /// extended destination ids, the interrupt remapping of an emulated IOMMU, an arm64 doorbell's
    /// address. `None` blocks the message, as an IOMMU does: the kernel has no route for its GSI
    /// until [`RoutingTable::retranslate`] or another commit finds a translation. What is
    /// [`Armed`](crate::Armed) on the GSI is taken off before that.
    ///
    /// The table itself keeps the untranslated messages. The translation is called once for each
    /// message of a commit, on the thread of one that commits, while the table holds no lock. If it
    /// panics, the commit of that message fails, and its caller gets the panic. If it commits
    /// something itself, or takes a GSI that a commit under way changes, it waits for ever; a
    /// handle to the table in it keeps the table alive.
    ///
    /// It may take locks of the VMM. Then no thread may hold one of these while it commits (also by
    /// unmasking a vector, setting its message, or running a queue) or calls
    /// [`RoutingTable::retranslate`]: it would wait for itself, or for a thread that commits for
    /// it. A vector's `trigger` and `mask` never call the translation, and never wait for one.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use irq_routing::{MsiMessage, RoutingTable};
    /// # use notify_core::sim::SimVm;
    /// // A machine with more than 255 vCPUs and no IOMMU.
    /// let table = RoutingTable::builder(Arc::new(SimVm::builder().build()))
    ///     .translate(|message| Some(message.with_extended_destination()))
    ///     .build()?;
    /// # Ok::<(), irq_routing::Error>(())
    /// ```
    pub fn translate(
        mut self,
        translation: impl Fn(MsiMessage) -> Option<MsiMessage> + Send + Sync + 'static,
    ) -> Self {
        self.translation = Translation::new(translation);
        self
    }

    /// An observer that is called for commits and vectors (default: none). See [`Observer`] for
    /// threads and locks.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Asks the machine for its number of GSIs. No route is set.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], [`Error::NoRoutingTable`].
    pub fn build(self) -> Result<RoutingTable, Error> {
        let answer = self
            .vm
            .capability(Capability::IrqRouting)
            .map_err(Error::Limit)?;
        let limit = answer.min(MOST_GSIS);
        if limit == 0 {
            return Err(Error::NoRoutingTable);
        }
        let reserved = self.reserved.unwrap_or(self.platform.reserved_gsis());
        let state = State::new(Slots::new(limit, reserved), self.platform);
        let shared = Arc::new(Shared {
            vm: self.vm,
            platform: self.platform,
            limit,
            translation: self.translation,
            observer: self.observer,
            state: Mutex::new(state),
            ended: Condvar::new(),
        });
        Ok(RoutingTable { shared })
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`RoutingTableBuilder`]: creates the table of any VM.

use std::sync::{Arc, OnceLock};

use notify_core::{Extension, Vm};

use crate::start::{reserved_gsis, wiring_of};
use crate::sync::{Condvar, Mutex};
use crate::table::shared::{Claim, Shared};
use crate::table::slots::Slots;
use crate::table::state::State;
use crate::table::translation::Translation;
use crate::{Error, MsiMessage, Observer, RoutingTable, Wiring};

/// More GSIs than any kernel has; the limit for a VM that reports more.
pub(crate) const MOST_GSIS: u32 = 1 << 16;

/// Builds a [`RoutingTable`] with a given wiring, a translation or an observer.
#[derive(Debug)]
#[must_use]
pub struct RoutingTableBuilder {
    vm: Arc<dyn Vm>,
    wiring: Option<Wiring>,
    reserved: Option<u32>,
    translation: Translation,
    observer: Option<Arc<dyn Observer>>,
}

impl RoutingTableBuilder {
    pub(crate) fn new(vm: Arc<dyn Vm>) -> Self {
        Self {
            vm,
            wiring: None,
            reserved: None,
            translation: Translation::default(),
            observer: None,
        }
    }

    /// Sets the pins that the table starts with, and the platform that it is for.
    ///
    /// | the VM | without this |
    /// |---|---|
    /// | x86, full irqchip | [`Wiring::kernel_default_x86`]: the pins that KVM has wired |
    /// | x86, split irqchip | nothing; the same as [`Wiring::none`] |
    /// | arm64, riscv64 | each commit fails with [`Error::UnknownWiring`]: give [`Wiring::gic`] or [`Wiring::aia`] |
    /// | a port without [`Vm::platform`] | the same |
    ///
    /// Without this call the table asks the VM ([`Vm::platform`]): when it is built, or at the
    /// first commit that finds an irqchip if that is created later. What is found then stays
    /// decided, also if the kernel refuses that commit.
    ///
    /// Routes that the VMM has set before by other means are not known: the first commit removes
    /// them.
    pub fn wiring(mut self, wiring: Wiring) -> Self {
        self.wiring = Some(wiring);
        self
    }

    /// Sets how many of the lowest GSIs [`RoutingTable::lease`] does not take.
    ///
    /// The default is the number of pins that the platform can have: 24 on x86, 988 on arm64, 1024
    /// on riscv64. For a split irqchip that was not created with 24 pins, give its number of pins.
    ///
    /// A GSI that is leased before the irqchip exists stays leased, and its pin is not wired.
    pub fn reserved_gsis(mut self, count: u32) -> Self {
        self.reserved = Some(count);
        self
    }

    /// Sets a translation of every message before it is given to the kernel (default: none).
    ///
    /// Examples are extended destination ids, the interrupt remapping of an emulated IOMMU, and the
    /// address of an arm64 doorbell. `None` blocks the message, as an IOMMU does: the kernel has no
    /// route for its GSI until [`RoutingTable::retranslate`] or another commit finds a translation.
    /// What is [`Armed`](crate::Armed) on the GSI is disarmed first.
    ///
    /// The table itself keeps the untranslated messages. The translation is called once for each
    /// message of a commit, on a thread that commits, while the table holds no lock. It must not
    /// use this table (deadlock), nor keep a handle to it (leak). If it panics, the commit of that
    /// message fails, and its caller gets the panic.
    ///
    /// It may take locks of the VMM. Then no thread may hold one of these locks while it commits or
    /// calls [`RoutingTable::retranslate`]: that can deadlock, because a thread may carry out the
    /// commits of others. To unmask a vector, to set its message and to run an `ArmQueue` are
    /// commits too. A vector's `trigger` and `mask` never call the translation, and never wait for
    /// one.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use irq_routing::{MsiMessage, RoutingTable};
    /// # use notify_sim::SimVm;
    /// // A VM with more than 255 vCPUs and no IOMMU.
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

    /// Sets an observer, which is called for commits and vectors (default: none); see [`Observer`].
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Creates the table. The kernel's table does not change before the first commit.
    ///
    /// Asks the VM for its number of GSIs, and for its interrupt controllers unless
    /// [`wiring`](Self::wiring) was given.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], [`Error::NoRoutingTable`], [`Error::SecondTable`], and
    /// [`Error::GsiOutOfRange`] if the wiring has GSIs that the VM does not have. If the VM does
    /// not report its interrupt controllers, each commit fails, not this call.
    pub fn build(self) -> Result<RoutingTable, Error> {
        let reported = self
            .vm
            .check_extension(Extension::IrqRouting)
            .map_err(|error| Error::Limit {
                cause: error.into(),
            })?;
        let limit = reported.min(MOST_GSIS);
        if limit == 0 {
            return Err(Error::NoRoutingTable);
        }
        // A failure to find out is an error of the first commit.
        let wiring = self.wiring.or_else(|| wiring_of(&*self.vm).ok());
        let platform = wiring.as_ref().map(Wiring::platform);
        let usual = reserved_gsis(platform.unwrap_or_default());
        let mut state = State::new(Slots::new(limit, self.reserved.unwrap_or(usual)));
        if let Some(wiring) = &wiring {
            state.start(wiring)?;
        }
        let claim = Claim::take(&self.vm)?;
        let shared = Arc::new(Shared {
            vm: self.vm,
            platform: platform.map_or_else(OnceLock::new, OnceLock::from),
            limit,
            translation: self.translation,
            observer: self.observer,
            state: Mutex::new(state),
            ended: Condvar::new(),
            _claim: claim,
        });
        Ok(RoutingTable { shared })
    }
}

impl RoutingTable {
    /// Creates the table of an x86 VM, with a full or a split irqchip.
    ///
    /// The irqchip may be created later, but before the first commit. On other architectures use
    /// [`RoutingTableBuilder::wiring`]; without it each commit fails with [`Error::UnknownWiring`].
    /// The kernel's table does not change before the first commit.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`], [`Error::NoRoutingTable`], [`Error::SecondTable`].
    pub fn new(vm: Arc<dyn Vm>) -> Result<Self, Error> {
        Self::builder(vm).build()
    }

    /// Creates a builder for the table of any VM.
    pub fn builder(vm: Arc<dyn Vm>) -> RoutingTableBuilder {
        RoutingTableBuilder::new(vm)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DrivenLine`]: exclusive control of a line's level and EOIs.

use std::collections::BTreeMap;

use crate::commit::edit::Edit;
use crate::commit::request::RequestKind;
use crate::table::state::State;
use crate::{Error, Gsi, Line, Pin, Rejected, Route, RoutingTable};

/// Exclusive control of a [`Line`]: its holder alone sets the level and gets the EOIs.
///
/// If two GSIs are routed to one pin, KVM reports the pin's EOIs only to the GSI that is last in
/// its table. A device that waits for EOIs of the other waits for ever. So while this lives, no pin
/// of the GSI may be shared. A commit that would route another GSI to one of its pins, or this GSI
/// to a pin of another, fails with [`Error::PinShared`]. Other transactions are not affected.
///
/// Dropping it gives up the control, then the line. No ioctl.
///
/// Kernel source: `kvm_notify_acked_irq` in `virt/kvm/eventfd.c`, `setup_routing_entry` in
/// `virt/kvm/irqchip.c`.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{Error, IrqChip, Pin, Platform, RoutingTable, Wiring};
/// # use notify_sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
/// let driven = table.line(10)?.drive()?;
///
/// let mut transaction = table.transaction();
/// transaction.wire(table.gsi(30)?, Pin::new(IrqChip::IoApic, 10)?);
/// let rejected = transaction.commit().unwrap_err();
/// assert!(matches!(rejected.error, Error::PinShared { .. }));
///
/// drop(driven);
/// rejected.value.commit()?;
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it lets others drive the line"]
pub struct DrivenLine {
    // In this order: the right is given up, then the line.
    right: DriveRight,
    line: Line,
}

impl DrivenLine {
    pub(crate) fn new(line: Line) -> Result<Self, Rejected<Line>> {
        match DriveRight::take(line.table(), line.gsi()) {
            Ok(right) => Ok(Self { right, line }),
            Err(error) => Err(Rejected::new(error, line)),
        }
    }

    /// Returns the line.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Gives up the control and returns the line, which keeps its route. No ioctl.
    pub fn into_line(self) -> Line {
        drop(self.right);
        self.line
    }
}

/// The right to set a GSI's level and to get its EOIs.
#[derive(Debug)]
struct DriveRight {
    table: RoutingTable,
    gsi: Gsi,
}

impl DriveRight {
    fn take(table: &RoutingTable, gsi: Gsi) -> Result<Self, Error> {
        table.submit(RequestKind::Drive(gsi))?;
        Ok(Self {
            table: table.clone(),
            gsi,
        })
    }
}

impl Drop for DriveRight {
    fn drop(&mut self) {
        self.table.lock().driven.remove(&self.gsi);
    }
}

/// Both validate against the committed routes. So while a line is driven, or is about to be, each
/// request that concerns pins has a round of its own; see [`State::take_kernel_and_requests`].
impl State {
    /// Fails if the GSI is driven already, or shares a pin with another.
    pub(crate) fn validate_drive(&self, gsi: Gsi) -> Result<(), Error> {
        if self.driven.contains(&gsi) {
            return Err(Error::AlreadyDriven { gsi });
        }
        let Some(Route::Pins(pins)) = self.slots.get(gsi).route() else {
            return Ok(());
        };
        let mut others = self.slots.routes().filter(|(other, _)| *other != gsi);
        let shared = |(other, route): (Gsi, Route)| {
            let pin = route.shared_pin(pins)?;
            Some(Error::PinShared { gsi, other, pin })
        };
        others.find_map(shared).map_or(Ok(()), Err)
    }

    /// Fails if a driven GSI would share a pin after these edits, of which there is at most one for
    /// each GSI.
    pub(crate) fn validate_driven(&self, edits: &[Edit]) -> Result<(), Error> {
        if self.driven.is_empty() || !edits.iter().any(Edit::routes_to_pins) {
            return Ok(());
        }
        let edited: BTreeMap<Gsi, &Edit> = edits.iter().map(|edit| (edit.gsi, edit)).collect();
        let kept = self.slots.routes();
        let kept = kept.filter(|(gsi, _)| !edited.contains_key(gsi));
        let new = edits
            .iter()
            .filter_map(|edit| Some((edit.gsi, edit.route()?)));
        let pins = |(gsi, route)| match route {
            Route::Pins(pins) => Some(pins.iter().map(move |pin| (pin, gsi))),
            _ => None,
        };
        let mut pins: Vec<(Pin, Gsi)> = kept.chain(new).filter_map(pins).flatten().collect();
        pins.sort_unstable();
        // GSIs that share a pin are neighbours now.
        let shared = |pair: &[(Pin, Gsi)]| match *pair {
            [(pin, one), (next, other)] if pin == next => {
                let driven = |gsi, other| {
                    let driven = self.driven.contains(&gsi);
                    driven.then_some(Error::PinShared { gsi, other, pin })
                };
                driven(one, other).or_else(|| driven(other, one))
            }
            _ => None,
        };
        pins.windows(2).find_map(shared).map_or(Ok(()), Err)
    }
}

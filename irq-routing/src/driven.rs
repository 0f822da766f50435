// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DrivenLine`]: a line whose level one party sets, and whose ends of interrupt it hears.

use crate::request::Edit;
use crate::state::State;
use crate::{Error, Gsi, Line, Rejected, Route, RoutingTable};

/// A [`Line`] with one party that sets its level and hears when the guest has ended its interrupt (EOI).
///
/// Of two GSIs that lead to one pin, only the one that stands last in the kernel's table hears of the
/// pin's EOIs, and who waits at the other waits for ever. So while this lives the table refuses, with
/// [`Error::PinShared`], what would lead another GSI to one of its pins, or this GSI to a pin that another
/// one has. Other transactions are not disturbed.
///
/// Dropping it gives that up, then the line.
///
/// Kernel source: `kvm_notify_acked_irq` in `virt/kvm/eventfd.c`, `setup_routing_entry` in
/// `virt/kvm/irqchip.c`.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::{Error, IrqChip, Pin, Platform, RoutingTable, Wiring};
/// # use notify_core::sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # let table = RoutingTable::builder(vm).platform(Platform::X86).build()?;
/// table.wire_all(&Wiring::pc())?;
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
    right: Right,
    line: Line,
}

impl DrivenLine {
    pub(crate) fn new(line: Line) -> Result<Self, Rejected<Line>> {
        match Right::take(line.table(), line.gsi()) {
            Ok(right) => Ok(Self { right, line }),
            Err(error) => Err(Rejected::new(error, line)),
        }
    }

    /// The line.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Keeps the route in place also when this has been dropped, as [`Line::quarantine`] does. A leased GSI is
    /// out of use at once.
    pub fn quarantine(&self) {
        self.line.keep();
    }

    /// Gives up the right to drive the line, and keeps its route in place.
    pub fn into_line(self) -> Line {
        drop(self.right);
        self.line
    }
}

/// The right to drive a GSI.
#[derive(Debug)]
struct Right {
    table: RoutingTable,
    gsi: Gsi,
}

impl Right {
    fn take(table: &RoutingTable, gsi: Gsi) -> Result<Self, Error> {
        let mut state = table.lock_uncontested(gsi);
        state.drive(gsi)?;
        let has_pins = matches!(state.slots.get(gsi).route(), Some(Route::Pins(_)));
        drop(state);
        let right = Self {
            table: table.clone(),
            gsi,
        };
        if has_pins {
            // The kernel may have a route to one of the pins still, of a lease that is gone.
            table.flush()?;
        }
        Ok(right)
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        self.table.lock().undrive(self.gsi);
    }
}

impl State {
    /// Enters a GSI as driven, if nobody drives it and nobody shares its pins.
    fn drive(&mut self, gsi: Gsi) -> Result<(), Error> {
        if self.driven.contains(&gsi) {
            return Err(Error::AlreadyDriven { gsi });
        }
        if let Some(Route::Pins(pins)) = self.slots.get(gsi).route() {
            for (other, route) in self.slots.routes().filter(|(other, _)| *other != gsi) {
                if let Some(pin) = route.shared_pin(pins) {
                    return Err(Error::PinShared { gsi, other, pin });
                }
            }
        }
        self.driven.insert(gsi);
        Ok(())
    }

    fn undrive(&mut self, gsi: Gsi) {
        self.driven.remove(&gsi);
    }

    /// Whether a commit under way leads another GSI to one of its pins.
    pub(crate) fn is_contested(&self, gsi: Gsi) -> bool {
        let Some(Route::Pins(pins)) = self.slots.get(gsi).route() else {
            return false;
        };
        let mut others = self.moving.iter().filter(|(other, _)| *other != gsi);
        others.any(|(_, theirs)| Route::Pins(*theirs).shared_pin(pins).is_some())
    }

    /// Whether what these edits may do depends on edits that are under way already.
    pub(crate) fn depends_on_moving(&self, edits: &[Edit]) -> bool {
        let depends = |edit: &Edit| {
            let Some(route @ Route::Pins(_)) = edit.route() else {
                return false;
            };
            let driven = self.driven.contains(&edit.gsi);
            self.moving.iter().any(|(other, pins)| {
                *other != edit.gsi
                    && (driven || self.driven.contains(other))
                    && route.shared_pin(*pins).is_some()
            })
        };
        !self.driven.is_empty() && edits.iter().any(depends)
    }

    /// Refuses edits, one of each GSI at most, after which a driven GSI would share a pin.
    pub(crate) fn validate_driven(&self, edits: &[Edit]) -> Result<(), Error> {
        let to_pins = |edit: &Edit| matches!(edit.route(), Some(Route::Pins(_)));
        if !edits.iter().any(to_pins) {
            return Ok(());
        }
        let mut driven = self.driven.iter().copied();
        driven.try_for_each(|gsi| self.validate_one_driven(gsi, edits))
    }

    fn validate_one_driven(&self, gsi: Gsi, edits: &[Edit]) -> Result<(), Error> {
        let edited = |gsi: Gsi| edits.iter().find(|edit| edit.gsi == gsi);
        let before = self.slots.get(gsi).route();
        let route = edited(gsi).map_or(before, Edit::route);
        let Some(Route::Pins(pins)) = route else {
            return Ok(());
        };
        let shared = |(other, route): (Gsi, Option<Route>)| {
            let pin = route.filter(|_| other != gsi)?.shared_pin(pins)?;
            Some(Error::PinShared { gsi, other, pin })
        };
        let mut edits = edits.iter().map(|edit| (edit.gsi, edit.route()));
        if let Some(error) = edits.find_map(shared) {
            return Err(error);
        }
        // Where it leads already nobody else does.
        if route == before {
            return Ok(());
        }
        let others = self
            .slots
            .routes()
            .filter(|(gsi, _)| edited(*gsi).is_none());
        let mut others = others.map(|(gsi, route)| (gsi, Some(route)));
        others.find_map(shared).map_or(Ok(()), Err)
    }

    /// Remembers which GSIs a request that is being carried out leads to pins.
    pub(crate) fn note_moving(&mut self, edits: &[Edit]) {
        let to_pins = |edit: &Edit| match edit.route() {
            Some(Route::Pins(pins)) => Some((edit.gsi, pins)),
            _ => None,
        };
        self.moving.extend(edits.iter().filter_map(to_pins));
    }
}

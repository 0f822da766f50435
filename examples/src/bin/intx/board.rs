// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Board`]: the line, and the VMM's part of the interrupt controllers.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use irq_routing::{MsiMessage, RoutingTable, Wiring};
use irqfd::{EoiExits, LevelLine};
use notify_core::Vm;

use crate::ioapic::{IoApic, Redirection};
use crate::layout::{IOAPIC_VECTORS, PIN};
use crate::pic::{Interrupt, Pic};
use crate::{Chip, Irqchip, Run};

/// How many pins the IOAPIC has; they have the first GSIs.
pub(crate) const PINS: u32 = 24;

pub(crate) struct Board {
    pub(crate) line: LevelLine,
    controller: Controller,
    exits: EoiExits,
    /// How many EOIs of the pin's vector the VMM has seen.
    ended: AtomicU64,
}

/// The controllers that the VMM emulates.
enum Controller {
    Kernel,
    IoApic(Mutex<IoApic>),
    Pic(Arc<Pic>),
}

impl Board {
    /// The controllers of a VM. `interrupt` is called when a PIC of the VMM requests an interrupt.
    pub(crate) fn new(
        run: Run,
        vm: Arc<dyn Vm>,
        interrupt: Interrupt,
    ) -> Result<Self, Box<dyn Error>> {
        let exits = EoiExits::default();
        let (line, controller) = match (run.irqchip, run.chip) {
            (Irqchip::Full, _) => {
                let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
                let line = LevelLine::builder(table.line(PIN.into())?).build()?;
                (line, Controller::Kernel)
            }
            (Irqchip::Split, Chip::Ioapic) => {
                let builder = RoutingTable::builder(vm);
                let table = builder.reserved_gsis(PINS).build()?;
                let lease = table.lease_exact(PIN.into())?;
                // The pin is masked, so its vector does not matter.
                let [vector, _] = IOAPIC_VECTORS;
                let nowhere = MsiMessage::new(0xfee0_0000, vector.into());
                lease.set_route(nowhere)?;
                let builder = LevelLine::builder(lease.into_line()?);
                let line = builder.eoi_exits(&exits).build()?;
                line.redirect(nowhere, true)?;
                (line, Controller::IoApic(Mutex::new(IoApic::new())))
            }
            (Irqchip::Split, Chip::Pic) => {
                let pic = Arc::new(Pic::new(interrupt));
                let line = LevelLine::on_controller(PIN.into(), pic.clone(), &exits);
                (line, Controller::Pic(pic))
            }
        };
        Ok(Self {
            line,
            controller,
            exits,
            ended: AtomicU64::new(0),
        })
    }

    /// How many EOIs of the pin the VMM has seen, where it sees them.
    pub(crate) fn ended(&self) -> Option<u64> {
        match self.controller {
            Controller::Kernel => None,
            _ => Some(self.ended.load(Ordering::Relaxed)),
        }
    }

    /// Handles an EOI at an IOAPIC of the VMM. If the interrupt was sent before the guest moved the
    /// pin to another vector, no line has this vector any more.
    pub(crate) fn vector_ended(&self, vector: u8) -> Result<(), String> {
        let is_current = match &self.controller {
            Controller::IoApic(ioapic) => {
                let ioapic = ioapic.lock().unwrap_or_else(PoisonError::into_inner);
                ioapic.vector(PIN) == Some(vector)
            }
            _ => false,
        };
        self.ended.fetch_add(is_current.into(), Ordering::Relaxed);
        match self.exits.on_vector(vector) == usize::from(is_current) {
            true => Ok(()),
            false => Err(format!(
                "the line does not know the vector of the EOI {vector:#x}"
            )),
        }
    }

    /// The guest writes to a register of the IOAPIC.
    pub(crate) fn ioapic_write(&self, offset: u64, data: &[u8]) -> Result<(), String> {
        let Controller::IoApic(ioapic) = &self.controller else {
            return Err("a write to an IOAPIC that is in the kernel".to_owned());
        };
        let mut ioapic = ioapic.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Redirection {
            pin,
            message,
            masked,
        }) = ioapic.write(offset, data)
        else {
            return Ok(());
        };
        if pin != u32::from(PIN) {
            return Ok(());
        }
        // Under the lock, so that of two writes the later one takes effect last.
        let redirected = self.line.redirect(message, masked);
        redirected.map_err(|error| error.to_string())
    }

    /// The guest reads a register of the IOAPIC.
    pub(crate) fn ioapic_read(&self, offset: u64, data: &mut [u8]) {
        if let Controller::IoApic(ioapic) = &self.controller {
            let ioapic = ioapic.lock().unwrap_or_else(PoisonError::into_inner);
            ioapic.read(offset, data);
        }
    }

    /// The guest writes to a port, which may belong to no PIC.
    pub(crate) fn port_write(&self, port: u16, data: &[u8]) {
        let (Controller::Pic(pic), [value]) = (&self.controller, data) else {
            return;
        };
        if Pic::has_port(port)
            && let Some(pin) = pic.write(port, *value)
        {
            if pin == u32::from(PIN) {
                self.ended.fetch_add(1, Ordering::Relaxed);
            }
            self.exits.on_pin(pin);
        }
    }

    /// The guest reads from a port.
    pub(crate) fn port_read(&self, port: u16, data: &mut [u8]) {
        match &self.controller {
            Controller::Pic(pic) if Pic::has_port(port) => data.fill(pic.read(port)),
            _ => data.fill(0xff),
        }
    }

    /// Whether the line ends in a controller that is entirely in the VMM, where nothing else can
    /// raise it.
    pub(crate) fn is_in_user_space(&self) -> bool {
        matches!(self.controller, Controller::Pic(_))
    }

    /// Whether a PIC of the VMM requests an interrupt.
    pub(crate) fn is_requesting(&self) -> bool {
        matches!(&self.controller, Controller::Pic(pic) if pic.is_requesting())
    }

    /// The vCPU takes an interrupt of a PIC of the VMM.
    pub(crate) fn take(&self) -> Option<u8> {
        match &self.controller {
            Controller::Pic(pic) => pic.take(),
            _ => None,
        }
    }
}

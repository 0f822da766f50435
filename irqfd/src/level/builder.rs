// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelLineBuilder`]: which way a line takes.

use std::io;
use std::os::fd::AsFd;

use irq_routing::{Line, MsiMessage, Route};
use notify_core::{EventNotifier, IrqFdRequest};

use super::held::Held;
use super::inner::Number;
use super::kernel::Kernel;
use super::message::Message;
use super::way::Way;
use super::{EoiExits, LevelLine};
use crate::builder::explain;
use crate::{Error, NoResample, Rejected};

/// A line that is not driven yet.
#[derive(Debug)]
#[must_use = "a builder does nothing"]
pub struct LevelLineBuilder {
    line: Line,
    exits: Option<EoiExits>,
}

impl LevelLineBuilder {
    pub(super) fn new(line: Line) -> Self {
        let exits = None;
        Self { line, exits }
    }

    /// Where the VMM reports the ends of interrupts that the kernel does not keep to itself. Where
    /// the kernel hears of them it is not used.
    pub fn eoi_exits(mut self, exits: &EoiExits) -> Self {
        self.exits = Some(exits.clone());
        self
    }

    /// The GSI.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Gives the line back.
    pub fn into_line(self) -> Line {
        self.line
    }

    /// Becomes the one who drives the line.
    ///
    /// A GSI with a message is one of a split irqchip, whose EOIs come as exits. Whether the
    /// machine is one is found out by asking for a resampling irqfd, which a split irqchip refuses.
    ///
    /// # Errors
    ///
    /// [`Error::Drive`]. For a GSI with a message [`Error::NoResample`]: no [`EoiExits`] were
    /// given, or none will come. [`Error::LineNotifier`] and those of
    /// [`IrqFdBuilder::assign`](crate::IrqFdBuilder::assign), from finding out. The builder comes
    /// back inside.
    pub fn build(self) -> Result<LevelLine, Rejected<Self>> {
        let gsi = self.line.gsi();
        let message = match self.find_message() {
            Ok(message) => message,
            Err(error) => return Err(Rejected::new(error, self)),
        };
        let Self { line, exits } = self;
        let held = match line.drive() {
            Ok(driven) => Held::new(driven),
            Err(rejected) => {
                let (source, line) = (rejected.error, rejected.value);
                let error = Error::Drive { gsi, source };
                return Err(Rejected::new(error, Self { line, exits }));
            }
        };
        let number = Number::Gsi(gsi);
        let Some(message) = message else {
            return Ok(LevelLine::new(number, Way::Kernel(Kernel::new(held))));
        };
        let line = LevelLine::new(number, Way::Message(Message::new(held, message)));
        if let Some(exits) = exits {
            exits.register(&line.inner);
        }
        Ok(line)
    }

    /// The message of a line whose EOIs come as exits; `None` for pins.
    fn find_message(&self) -> Result<Option<MsiMessage>, Error> {
        let (table, gsi) = (self.line.table(), self.line.gsi());
        let message = match table.route(gsi) {
            Some(Route::Pins(_)) => return Ok(None),
            Some(Route::Msi(message)) => message,
            _ => {
                let reason = NoResample::NoPin;
                return Err(Error::NoResample { gsi, reason });
            }
        };
        let reason = match self.refusal()? {
            None => NoResample::NoPin,
            Some(source) if self.exits.is_none() => NoResample::Refused(source),
            Some(_) if gsi.number() >= table.reserved_gsis() => NoResample::NotReserved {
                reserved: table.reserved_gsis(),
            },
            Some(_) => return Ok(Some(message)),
        };
        Err(Error::NoResample { gsi, reason })
    }

    /// What the kernel has against a resampling irqfd, if that it is a split irqchip; see
    /// `kvm_arch_irqfd_allowed`.
    fn refusal(&self) -> Result<Option<io::Error>, Error> {
        let (vm, gsi) = (self.line.table().vm(), self.line.gsi());
        let line = gsi.number();
        let notifier =
            || EventNotifier::new().map_err(|source| Error::LineNotifier { line, source });
        let (trigger, resample) = (notifier()?, notifier()?);
        let assign = IrqFdRequest::assign_resample(trigger.as_fd(), line, resample.as_fd());
        match vm.irqfd(&assign) {
            Ok(()) => {
                // Closing it would do as well.
                let _ = vm.irqfd(&IrqFdRequest::deassign(trigger.as_fd(), line));
                Ok(None)
            }
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => Ok(Some(source)),
            Err(source) => Err(explain(&**vm, gsi, source)),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`LevelLineBuilder`]: how a line gets its interrupts to the guest.

use std::io;
use std::os::fd::AsFd;

use irq_routing::{Line, MsiMessage, Route};
use notify_core::{EventNotifier, IrqFdRequest, Rejected, SysError};

use super::delivery::Delivery;
use super::driven_gsi::DrivenGsi;
use super::inner::Number;
use super::kernel::Kernel;
use super::message::Message;
use super::{EoiExits, LevelLine};
use super::{LevelError, NoResample};
use crate::IrqFdError;

/// Builds a [`LevelLine`] on a GSI.
#[derive(Debug)]
#[must_use = "a builder does nothing"]
pub struct LevelLineBuilder {
    line: Line,
    exits: Option<EoiExits>,
    without_eois: bool,
}

impl LevelLineBuilder {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            exits: None,
            without_eois: false,
        }
    }

    /// Sets where the VMM reports the EOIs that are exits to user space: those of a split irqchip.
    /// Not used where the kernel handles the EOIs.
    pub fn eoi_exits(mut self, exits: &EoiExits) -> Self {
        self.exits = Some(exits.clone());
        self
    }

    /// Declares that no EOI of this line is ever reported: an EOI of a TDX guest is no exit, and
    /// KVM cannot change that. For a GSI with a message; it has no effect on a line to pins in the
    /// kernel.
    ///
    /// A level-triggered line sends again at the EOI if it is still high. Without EOIs that is not
    /// possible. So each [`assert`](crate::LevelIrq::assert) sends one message, also if the line or
    /// the device is high already. What is promised:
    ///
    /// - After an `assert` the guest runs its handler from the start at least once. If the vector
    ///   is in service, the local APIC keeps the message and delivers it after the EOI.
    /// - If the line is still high when its entry is unmasked or the line is resumed, one message
    ///   is sent then. (An edge-triggered entry loses what comes while it is masked, as in an
    ///   IOAPIC.)
    /// - An interrupt may be spurious: its reason was served by an earlier run of the handler, or
    ///   its device has deasserted since.
    /// - No state of the line keeps a later `assert` from being sent.
    ///
    /// What is not promised: if the guest ends an interrupt and leaves a reason unserved, it is not
    /// interrupted again for that reason. The device calls `assert` for each new reason, also if it
    /// did not deassert in between. [`LevelLine::reassert`] sends again if the line is high. A VMM
    /// may call it at another sign of service, for instance an access to the device's registers.
    ///
    /// No device that waits for EOIs can join: [`join_resampled`](LevelLine::join_resampled),
    /// [`join_exported`](LevelLine::join_exported) and
    /// [`PassthroughIntx`](crate::vfio::PassthroughIntx) fail with [`NoResample::WithoutEois`]. For
    /// a device of VFIO the VMM reads the trigger and asserts, and at the next access to the
    /// device's registers deasserts and unmasks it. Describe the lines to such a guest as
    /// edge-triggered; QEMU does so for TDX, in the ACPI tables of GSIs and PCI links.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use irq_routing::{MsiMessage, Platform, RoutingTable};
    /// # use irqfd::LevelLine;
    /// # use notify_sim::{Profile, SimVm};
    /// let vm = Arc::new(SimVm::builder().profile(Profile::X86Split { pins: 24 }).build());
    /// vm.enable_lapic(0); // as a guest does when it boots
    /// let table = RoutingTable::new(vm.clone())?; // one for the VM
    /// let lease = table.lease_exact(10)?;
    /// lease.set_route(MsiMessage::default())?;
    /// let line = LevelLine::builder(lease.into_line()?).without_eois().build()?;
    /// let serial = line.join()?;
    /// // The guest writes the entry: vector 0x51, level-triggered, not masked.
    /// line.redirect(MsiMessage::new(0xfee0_0000, 0x8051), false)?;
    ///
    /// serial.assert()?; // a byte has come
    /// assert_eq!(vm.take_vector(0), Some(0x51));
    /// vm.lapic_eoi(0); // it is not reported
    /// serial.assert()?; // the next byte, and the first one was not read
    /// assert_eq!(vm.take_vector(0), Some(0x51));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn without_eois(mut self) -> Self {
        self.without_eois = true;
        self
    }

    /// Takes exclusive control of the line: its level and its EOIs.
    ///
    /// A GSI with a message belongs to a split irqchip, whose EOIs are exits. One request for a
    /// resampling irqfd finds out whether the VM has one: a split irqchip refuses it, and so does a
    /// port that has none (`Unsupported`). With [`without_eois`](Self::without_eois) there is no
    /// such request.
    ///
    /// # Errors
    ///
    /// [`LevelError::Taken`]. For a GSI with a message [`LevelError::NoResample`]: no [`EoiExits`]
    /// were given, or there will be no such exits; [`LevelError::OtherVm`].
    /// [`LevelError::Notifier`] and those of [`LevelError::Arm`], from the request for an irqfd.
    /// The error returns the [`Line`].
    pub fn build(self) -> Result<LevelLine, Rejected<Line, LevelError>> {
        let gsi = self.line.gsi();
        let message = match self.find_message() {
            Ok(message) => message,
            Err(error) => return Err(Rejected::new(error, self.line)),
        };
        let Self {
            line,
            exits,
            without_eois,
        } = self;
        let driven_gsi = match line.drive() {
            Ok(driven) => DrivenGsi::new(driven),
            Err(rejected) => {
                let (cause, line) = (rejected.error, rejected.value);
                let error = LevelError::Taken {
                    gsi,
                    cause: Box::new(cause),
                };
                return Err(Rejected::new(error, line));
            }
        };
        let number = Number::Gsi(gsi);
        let Some(message) = message else {
            return Ok(LevelLine::new(
                number,
                Delivery::Kernel(Kernel::new(driven_gsi)),
            ));
        };
        let message = Message::new(driven_gsi, message, !without_eois);
        let line = LevelLine::new(number, Delivery::Message(message));
        if let Some(exits) = exits.filter(|_| !without_eois) {
            exits.register(&line.inner);
        }
        Ok(line)
    }

    /// The message of a line whose EOIs come as exits, or not at all; `None` for pins.
    fn find_message(&self) -> Result<Option<MsiMessage>, LevelError> {
        let (table, gsi) = (self.line.table(), self.line.gsi());
        let message = match table.route(gsi) {
            Some(Route::Pins(_)) => return Ok(None),
            Some(Route::Msi(message)) => message,
            _ => {
                let reason = NoResample::NoPin;
                return Err(LevelError::NoResample { gsi, reason });
            }
        };
        if self.without_eois {
            return Ok(Some(message));
        }
        let mut exits = self.exits.iter();
        if !exits.all(|exits| exits.belongs_to(table.vm())) {
            return Err(LevelError::OtherVm { gsi });
        }
        let reason = match self.refusal()? {
            None => NoResample::NoPin,
            Some(cause) if self.exits.is_none() => NoResample::Refused { cause },
            Some(_) if gsi.number() >= table.reserved_gsis() => NoResample::NotReserved {
                reserved: table.reserved_gsis(),
            },
            Some(_) => return Ok(Some(message)),
        };
        Err(LevelError::NoResample { gsi, reason })
    }

    /// Why a resampling irqfd is refused, if the reason is a split irqchip (see
    /// `kvm_arch_irqfd_allowed`), or a port that has none.
    fn refusal(&self) -> Result<Option<SysError>, LevelError> {
        let (vm, gsi) = (self.line.table().vm(), self.line.gsi());
        let line = gsi.number();
        let notifier =
            || EventNotifier::new().map_err(|cause| LevelError::Notifier { line, cause });
        let (trigger, resample) = (notifier()?, notifier()?);
        let assign = IrqFdRequest::assign_resample(trigger.as_fd(), line, resample.as_fd());
        match vm.irqfd(&assign) {
            Ok(()) => {
                // Closing it would do as well.
                let _ = vm.irqfd(&IrqFdRequest::deassign(trigger.as_fd(), line));
                Ok(None)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(Some(error.into())),
                _ => Err(IrqFdError::refused(&**vm, gsi, error).into()),
            },
        }
    }
}

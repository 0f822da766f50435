// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`choose`]: which way an interrupt should take, and why.

use std::fmt;

use notify_core::Platform;

/// What a device's interrupt is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// A pin of the IOAPIC, or of whatever takes wires on the platform.
    Pin,
    /// x86: a pin of the PICs. (A PC's line goes to both; where the answers differ, it takes both
    /// ways.)
    PicPin,
    /// Nothing: it is a message (MSI, MSI-X).
    Message,
}

/// How the device asserts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// It happens.
    Edge,
    /// It is asserted until the device is satisfied.
    Level,
}

/// Who signals it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signaller {
    /// Code of this process that can call this crate, on whichever thread.
    Vmm,
    /// Who can be given nothing but an eventfd: another process (KVM serves the VMM's alone), or a
    /// driver in the kernel, such as vhost and VFIO.
    Other,
}

/// A way into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Path {
    /// An eventfd bound to a GSI.
    IrqFd,
    /// The same, with an eventfd that tells of the guest's EOI.
    ResampleIrqFd,
    /// The same without: KVM leaves the guest at the EOI, and the VMM passes it on.
    IrqFdAndEoiExit,
    /// A message.
    SignalMsi,
    /// A level.
    IrqLine,
    /// A level that the kernel turns into a message, until KVM leaves the guest at the EOI.
    IrqLineAndEoiExit,
    /// A vector from the VMM's own controller.
    Interrupt,
    /// The same, after the VMM has read the eventfd itself.
    WaitAndInterrupt,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IrqFd => "KVM_IRQFD",
            Self::ResampleIrqFd => "KVM_IRQFD with resample",
            Self::IrqFdAndEoiExit => "KVM_IRQFD and EOI exits",
            Self::SignalMsi => "KVM_SIGNAL_MSI",
            Self::IrqLine => "KVM_IRQ_LINE",
            Self::IrqLineAndEoiExit => "KVM_IRQ_LINE and EOI exits",
            Self::Interrupt => "KVM_INTERRUPT",
            Self::WaitAndInterrupt => "poll(2), then KVM_INTERRUPT",
        })
    }
}

/// What [`choose`](choose()) answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The way.
    pub path: Path,
    /// What of this crate goes it.
    pub with: &'static str,
    /// Why this one: a sentence.
    pub why: &'static str,
}

/// Which way an interrupt should take. `platform` is what
/// [`Vm::platform`](notify_core::Vm::platform) returns: `None` if all interrupt controllers are the
/// VMM's.
///
/// It depends on who signals, and must not depend on anything that is merely true at the time.
/// (QEMU asked whether the device's doorbells were handled in the kernel, until 2024, and took the
/// irqfd's way from its main loop too.) A device with two kinds of signallers takes two ways at
/// once.
///
#[doc = include_str!("choose.md")]
///
/// # Other architectures
///
/// What the table says of pins is x86's in two points. On arm64 a pin has one level in the kernel,
/// that of whoever came last, so that devices of both kinds of signallers cannot share it. On
/// riscv64 KVM hears of no EOI at an APLIC, and a resample eventfd stays silent.
///
/// ```
/// use irqfd::inject::{Path, Signaller, Trigger, Wire, choose};
/// use notify_core::Vm;
/// # use notify_core::sim::{Profile, SimVm};
///
/// let vm = SimVm::builder().profile(Profile::X86Split { pins: 24 }).build(); // or a KvmVm
/// let intx = choose(vm.platform()?, Wire::Pin, Trigger::Level, Signaller::Other); // of a VFIO device
/// assert_eq!(intx.path, Path::IrqFdAndEoiExit);
/// println!("{} by {}: {}", intx.path, intx.with, intx.why);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub const fn choose(
    platform: Option<Platform>,
    wire: Wire,
    trigger: Trigger,
    signaller: Signaller,
) -> Choice {
    match (platform, wire) {
        (None, Wire::Message) => own_lapics(signaller),
        (None, _) | (Some(Platform::X86Split), Wire::PicPin) => own_controller(trigger, signaller),
        (_, Wire::Message) => message(trigger, signaller),
        (Some(Platform::X86Split), _) => own_ioapic(trigger, signaller),
        (Some(_), _) => pin(trigger, signaller),
    }
}

const fn message(trigger: Trigger, signaller: Signaller) -> Choice {
    let (path, why) = match (signaller, trigger) {
        (Signaller::Vmm, Trigger::Edge) => (
            Path::SignalMsi,
            "Who can call the kernel needs no eventfd, no GSI and no route for a message, and masks it in memory.",
        ),
        (Signaller::Vmm, Trigger::Level) => (
            Path::SignalMsi,
            "A message has no level: one is sent at each assertion, and the driver looks at the device before it \
             returns.",
        ),
        (Signaller::Other, Trigger::Edge) => (
            Path::IrqFd,
            "An eventfd can be given away, and the message of its GSI is injected in the signaller's own context.",
        ),
        (Signaller::Other, Trigger::Level) => (
            Path::IrqFd,
            "A message has no level, and nobody hears of its end: each signal of the eventfd sends one.",
        ),
    };
    let with = match signaller {
        Signaller::Vmm => "`Vector`",
        Signaller::Other => "`Vector` (exported)",
    };
    Choice { path, with, why }
}

/// A pin of a chip in the kernel.
const fn pin(trigger: Trigger, signaller: Signaller) -> Choice {
    match (signaller, trigger) {
        (Signaller::Vmm, Trigger::Edge) => Choice {
            path: Path::IrqLine,
            with: "`inject::line`",
            why: "Two calls pulse the pin on the spot; the signal of an irqfd would be left to a thread of the kernel.",
        },
        (Signaller::Vmm, Trigger::Level) => Choice {
            path: Path::IrqLine,
            with: "`LevelIrq`",
            why: "The VMM knows when its device is satisfied and lowers the line itself, which no eventfd can say.",
        },
        (Signaller::Other, Trigger::Edge) => Choice {
            path: Path::IrqFd,
            with: "`IrqFd`",
            why: "An eventfd can be given away, and its signals pulse the pin.",
        },
        (Signaller::Other, Trigger::Level) => Choice {
            path: Path::ResampleIrqFd,
            with: "`LevelIrq` (exported)",
            why: "An eventfd can raise a line and not lower it: the guest's EOI does, and asks the device again.",
        },
    }
}

/// A pin of the VMM's own IOAPIC, in front of local APICs in the kernel.
const fn own_ioapic(trigger: Trigger, signaller: Signaller) -> Choice {
    match (signaller, trigger) {
        (Signaller::Vmm, Trigger::Edge) => Choice {
            path: Path::SignalMsi,
            with: "`inject::message`",
            why: "The VMM's IOAPIC turns an edge into the message of its redirection entry.",
        },
        (Signaller::Vmm, Trigger::Level) => Choice {
            path: Path::IrqLineAndEoiExit,
            with: "`LevelIrq`",
            why: "The GSI leads to the redirection entry's message, and KVM leaves the guest at the EOI, so that what \
                  is asserted still is sent again.",
        },
        (Signaller::Other, Trigger::Edge) => Choice {
            path: Path::IrqFd,
            with: "`IrqFd`",
            why: "The GSI leads to the redirection entry's message, so that a signal passes by the VMM's IOAPIC.",
        },
        (Signaller::Other, Trigger::Level) => Choice {
            path: Path::IrqFdAndEoiExit,
            with: "`LevelIrq` (exported)",
            why: "KVM refuses resample eventfds without pins in the kernel: the VMM signals them, when KVM leaves the \
                  guest at the EOI.",
        },
    }
}

/// A controller of the VMM that interrupts a vCPU itself.
const fn own_controller(trigger: Trigger, signaller: Signaller) -> Choice {
    let (path, why) = match signaller {
        Signaller::Vmm => (
            Path::Interrupt,
            "The controller is the VMM's: it chooses the vector, and the vCPU's thread injects it between two runs.",
        ),
        Signaller::Other => (
            Path::WaitAndInterrupt,
            "No eventfd leads to the VMM's own controller: the VMM waits for its signals, and asserts for them.",
        ),
    };
    let with = match (signaller, trigger) {
        (Signaller::Vmm, Trigger::Edge) => "`inject::vcpu`",
        (Signaller::Vmm, Trigger::Level) => "`LevelIrq`, `inject::vcpu`",
        (Signaller::Other, Trigger::Edge) => "`EventNotifier`, `inject::vcpu`",
        (Signaller::Other, Trigger::Level) => "`LevelIrq` (exported), `inject::vcpu`",
    };
    Choice { path, with, why }
}

/// A message to local APICs of the VMM.
const fn own_lapics(signaller: Signaller) -> Choice {
    match signaller {
        Signaller::Vmm => Choice {
            path: Path::Interrupt,
            with: "`inject::vcpu`",
            why: "The VMM's own local APIC takes the message, and the vCPU's thread injects what that chooses.",
        },
        Signaller::Other => Choice {
            path: Path::WaitAndInterrupt,
            with: "`EventNotifier`, `inject::vcpu`",
            why: "No eventfd leads to the VMM's own local APIC: the VMM waits for its signals, and sends the message.",
        },
    }
}

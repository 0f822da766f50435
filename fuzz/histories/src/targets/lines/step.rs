// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The operations. Numbers are taken modulo the size of what they select from.

use arbitrary::Arbitrary;

/// One operation. It concerns the VM that was selected last.
#[derive(Debug, Clone, Arbitrary)]
pub enum Step {
    /// A device of a line.
    Device(u8, Device),
    /// The VMM and a line.
    Line(u8, Op),
    /// The guest.
    Guest(Guest),
    /// A request fails in the next operation of a device, of a line, or of an EOI: the kind, and
    /// the how-manieth request of that kind.
    Fail(Request, u8),
    /// Rare operations.
    Rare(Rare),
}

/// The interrupt controllers of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Arbitrary)]
pub enum Kind {
    /// All in the kernel; the guest starts with the IOAPIC. A kernel that resamples at an unmask.
    IoApic,
    /// All in the kernel; the guest starts with the PICs. A kernel that does not.
    Pic,
    /// As `IoApic`, over a port without KVM_IRQ_LINE.
    PinsWithoutIrqLine,
    /// A split irqchip.
    Split,
    /// A split irqchip, over a port without KVM_IRQ_LINE.
    SplitWithoutIrqLine,
    /// A split irqchip without EOIs.
    SplitWithoutEois,
    /// Two controllers of the VMM's own, with a line on the same pin of each.
    Own,
    /// arm64, GICv3.
    Gic,
    /// riscv64, APLIC.
    Aplic,
}

/// What happens to a device of a line.
#[derive(Debug, Clone, Arbitrary)]
pub enum Device {
    /// One more joins.
    Join(Sharer),
    /// It leaves: by a call, or by its drop.
    Leave(u8, bool),
    /// It asserts.
    Assert(u8),
    /// It deasserts.
    Deassert(u8),
    /// Its trigger is signalled.
    Signal(u8),
    /// Its trigger is signalled, and the VMM takes the signal.
    Trigger(u8),
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Sharer {
    /// Of the VMM.
    Own,
    /// Of the VMM, and it waits for EOIs.
    Resampled,
    /// Exported.
    Exported,
    /// Exported, with a trigger that was signalled before.
    Signalled,
}

/// What the VMM does with a line.
#[derive(Debug, Clone, Arbitrary)]
pub enum Op {
    /// The guest writes the redirection entry.
    Redirect(Entry),
    /// See `LevelLine`.
    Pause,
    /// See `LevelLine`.
    Resume,
    /// See `LevelLine`.
    Resync,
    /// See `LevelLine`.
    Reassert,
    /// See `LevelLine`.
    OnEoi,
    /// Takes a snapshot.
    Save,
    /// Restores the last snapshot of the line.
    Restore,
}

/// A redirection entry: bits 0 and 1 select the vector; 2: edge-triggered if bit 3 is set too; 4:
/// masked; 5 to 7: destination and delivery mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub struct Entry(pub u8);

/// What the guest does. A boolean is a vCPU where nothing else is said. Where there are no PICs it
/// serves an interrupt of the first vCPU instead.
#[derive(Debug, Clone, Arbitrary)]
pub enum Guest {
    /// It takes an interrupt. (Of a pin, where there are no vectors.)
    Take(bool),
    /// It ends the interrupt that it took last.
    End(bool),
    /// Both.
    Serve(bool),
    /// It takes an interrupt from the PICs.
    TakePic,
    /// It writes commands to both PICs. 0 to 9: an EOI, the other values initialise them.
    EndPic(u8),
    /// It masks pins of the PICs.
    MaskPic(u8),
    /// It writes the redirection entry of the pin of a line.
    IoApic(bool, Entry),
    /// It enables or disables the local APIC of a vCPU.
    Lapic(bool, bool),
    /// It makes the interrupt of a line edge-triggered or level-triggered (PIC, GIC).
    Edge(bool, bool),
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub enum Request {
    /// KVM_SET_GSI_ROUTING.
    Routing,
    /// KVM_IRQFD that binds.
    Assign,
    /// KVM_IRQFD that unbinds.
    Deassign,
    /// KVM_IRQ_LINE, or a call of the VMM's controller.
    Level,
}

/// Rare operations.
#[derive(Debug, Clone, Arbitrary)]
pub enum Rare {
    /// Selects a VM: that of the kind. The first one is selected at the start.
    Use(Kind),
    /// The line and its devices end, and a new line takes the GSI.
    Rebuild(bool),
    /// Another line is refused on a GSI that has one.
    Second(bool),
    /// All lines are saved and restored in another VM, where they are paused or not.
    Move(bool),
    /// All lines are saved, and the VM goes on.
    Stay,
}

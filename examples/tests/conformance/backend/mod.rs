// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM, as cases see it.

#[cfg(target_arch = "x86_64")]
pub(crate) mod kvm;
mod sim;

#[cfg(target_arch = "x86_64")]
pub(crate) use kvm::Kvm;
pub(crate) use notify_core::Bus;
pub(crate) use sim::Sim;

use nix::errno::Errno;

use crate::request::{IoEventFd, IrqFd, IrqLevel, Msi, Routing};

/// The result of an ioctl.
pub(crate) type Reply = Result<i32, Errno>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Irqchip {
    /// No interrupt controller.
    None,
    /// Only local APICs.
    Split,
    /// Local APICs, IOAPIC and two PICs.
    Full,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) irqchip: Irqchip,
    pub(crate) vcpus: u8,
}

/// The end of the RAM of every VM, which starts at 0.
pub(crate) const RAM_END: u64 = 0x20_0000;
/// Where [`Backend::add_rom`] puts a page of read-only memory.
pub(crate) const ROM: u64 = 0xc000_0000;

/// A write, or a part of one, that exited to user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExitWrite {
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
}

impl ExitWrite {
    pub(crate) fn new(address: u64, bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        Self { address, bytes }
    }
}

/// Registers of a PIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pic {
    /// Requested, not yet taken.
    pub(crate) irr: u8,
    /// Taken, not yet ended by an EOI.
    pub(crate) isr: u8,
    /// Masked.
    pub(crate) imr: u8,
}

/// A VM. Requests are those of the ioctls, integer for integer, so that malformed ones can be made.
pub(crate) trait Backend {
    fn ioeventfd(&self, request: &IoEventFd) -> Reply;
    fn irqfd(&self, request: &IrqFd) -> Reply;
    fn set_gsi_routing(&self, request: &Routing<'_>) -> Reply;
    fn signal_msi(&self, request: &Msi) -> Reply;
    fn irq_line(&self, request: &IrqLevel) -> Reply;
    /// The status that the kernel writes back.
    fn irq_line_status(&self, request: &IrqLevel) -> Reply;
    /// KVM_INTERRUPT of the first vCPU.
    fn interrupt(&self, vector: u32) -> Reply;
    /// KVM_CAP_X2APIC_API with 32-bit ids.
    fn enable_x2apic_ids(&self);
    /// KVM_REGISTER_COALESCED_MMIO.
    fn coalesce(&self, bus: Bus, address: u64, size: u32) -> Reply;
    /// A read-only memory slot of one page at [`ROM`].
    fn add_rom(&self);

    /// The guest writes 1, 2, 4, 8 or 16 bytes at once; returns what exits to user space.
    fn guest_write(&self, bus: Bus, address: u64, bytes: &[u8]) -> Vec<ExitWrite>;
    /// The guest writes up to four words to a port by one `rep outsw`.
    fn guest_write_string(&self, port: u16, words: &[u16]) -> Vec<ExitWrite>;
    /// The guest takes one interrupt of the PICs, if any waits, or one of KVM_INTERRUPT. Returns
    /// its vector, from 0x60 on.
    fn guest_takes_interrupt(&self) -> Option<u8>;
    /// KVM_INTERRUPT of the first vCPU while the guest has interrupts on. Returns the vector that
    /// it takes then.
    fn guest_interrupted(&self, vector: u32) -> Option<u8>;

    /// Enables the local APIC of the first vCPU.
    fn enable_lapic(&self);
    fn disable_lapic(&self);
    /// The vectors pending in the local APIC of the first vCPU, in ascending order.
    fn vectors(&self) -> Vec<u8>;
    fn clear_vectors(&self);
    fn pics(&self) -> [Pic; 2];
    fn ioapic_irr(&self) -> u32;
    /// KVM_SET_IRQCHIP, with another redirection entry of one pin.
    fn redirect_pin(&self, pin: u32, entry: u64);

    /// Waits until earlier signals have had their effect: KVM leaves pins to a worker thread.
    fn settle(&self);
}

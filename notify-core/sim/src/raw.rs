// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The arguments of KVM's ioctls as plain integers, for tests; not part of the public interface.
//! With them tests compare the simulator with KVM, also for malformed requests.
//!
//! They go to the `kvm_*` methods of [`SimVm`](super::SimVm), which check them in the order in
//! which the kernel does. Kernel source: `include/uapi/linux/kvm.h`.

/// `struct kvm_irqfd`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IrqFd {
    /// The number of the eventfd.
    pub fd: i32,
    /// The GSI.
    pub gsi: u32,
    /// Bit 0 deassigns, bit 1: there is a resample eventfd.
    pub flags: u32,
    /// The number of the resample eventfd.
    pub resamplefd: i32,
}

/// `struct kvm_ioeventfd`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IoEventFd {
    /// The value to match.
    pub datamatch: u64,
    /// The address, or the port.
    pub addr: u64,
    /// The width in bytes; 0 for any.
    pub len: u32,
    /// The number of the eventfd.
    pub fd: i32,
    /// Bit 0 matches the value, bit 1 means a port, bit 2 deassigns, bit 3 means a channel (s390x).
    pub flags: u32,
}

/// `struct kvm_irq_routing`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Routing<'a> {
    /// How many entries there are, by the caller's word. EFAULT if there are fewer.
    pub nr: u32,
    /// None is defined.
    pub flags: u32,
    /// The entries.
    pub entries: &'a [RoutingEntry],
}

impl<'a> Routing<'a> {
    /// Creates a request with the right number of entries.
    #[must_use]
    pub fn of(entries: &'a [RoutingEntry]) -> Self {
        Self {
            nr: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            flags: 0,
            entries,
        }
    }
}

/// `struct kvm_irq_routing_entry`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RoutingEntry {
    /// The GSI.
    pub gsi: u32,
    /// 1 a pin, 2 a message; other kinds are refused.
    pub kind: u32,
    /// Bit 0 of a message: it has a device ID.
    pub flags: u32,
    /// The union: chip and pin, or address (low half first), data and device id.
    pub u: [u32; 8],
}

/// `struct kvm_msi`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Msi {
    /// The low half of the address.
    pub address_lo: u32,
    /// The high half of the address.
    pub address_hi: u32,
    /// The data.
    pub data: u32,
    /// Bit 0: there is a device ID.
    pub flags: u32,
    /// The device id.
    pub devid: u32,
}

/// `struct kvm_irq_level`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct IrqLevel {
    /// The GSI; on arm64 a kind and a number of an interrupt.
    pub irq: u32,
    /// The level; anything but 0 is high.
    pub level: u32,
}

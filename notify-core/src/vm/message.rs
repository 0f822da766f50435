// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`MsiMessage`]: what a message-signalled interrupt writes.

use std::fmt;

/// A message: the write that raises a message-signalled interrupt (PCI Local Bus 3.0, 6.8).
///
/// Address and data choose the vCPU and the vector, so they belong to the guest. Any value can be
/// stored; a message that KVM cannot use is refused or dropped when it is sent.
///
/// The struct is closed: an MSI is an address, data and, with some interrupt controllers, the device
/// that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MsiMessage {
    /// The address that is written.
    pub address: u64,
    /// The value that is written.
    pub data: u32,
    /// The id of the device that writes it, for interrupt controllers that translate by device
    /// (arm64 with an ITS).
    pub devid: Option<u32>,
}

impl MsiMessage {
    /// A message of no particular device.
    #[inline]
    #[must_use]
    pub const fn new(address: u64, data: u32) -> Self {
        Self {
            address,
            data,
            devid: None,
        }
    }

    /// The same message, written by this device.
    #[inline]
    #[must_use]
    pub const fn with_devid(mut self, devid: u32) -> Self {
        self.devid = Some(devid);
        self
    }

    /// The same message in the form that KVM takes on x86 with 32-bit APIC ids (KVM_CAP_X2APIC_API),
    /// if a guest wrote it in the form of KVM_FEATURE_MSI_EXT_DEST_ID, with bits 8 to 14 of the
    /// destination in bits 5 to 11 of the address. Any other message is left as it is. It is a
    /// translation for `RoutingTableBuilder::translate` of the crate `irq-routing`.
    ///
    /// ```
    /// use notify_core::MsiMessage;
    ///
    /// let to_apic_0x102 = MsiMessage::new(0xfee0_2020, 0x41).with_extended_destination();
    /// assert_eq!(to_apic_0x102.address, 0x100_fee0_2000);
    /// ```
    #[must_use]
    pub const fn with_extended_destination(mut self) -> Self {
        const HIGH_DESTINATION: u64 = 0xfe0;
        const REMAPPABLE: u64 = 0x10;
        if self.address >> 32 == 0 && self.address & REMAPPABLE == 0 {
            let high = self.address & HIGH_DESTINATION;
            self.address = (self.address & !HIGH_DESTINATION) | high << 35;
        }
        self
    }
}

impl fmt::Display for MsiMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MSI {:#x} to {:#x}", self.data, self.address)?;
        match self.devid {
            Some(devid) => write!(f, " from device {devid:#x}"),
            None => Ok(()),
        }
    }
}

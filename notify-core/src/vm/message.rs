// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`MsiMessage`]: the write that raises a message-signalled interrupt.

use std::fmt;

use crate::hex::Hex;

/// An MSI message: the write that raises an interrupt (PCI Local Bus 3.0, 6.8).
///
/// Address and data choose the vCPU and the vector, so the guest's driver sets them. Any value can
/// be stored. KVM refuses or drops a message that it cannot use, when it is sent.
///
/// The struct can be constructed by its fields: an MSI is an address, data and, with some interrupt
/// controllers, the device that wrote it. No field will be added.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MsiMessage {
    /// The guest-physical address of the write.
    pub address: u64,
    /// The value that is written.
    pub data: u32,
    /// The ID of the device that writes it (arm64 with an ITS, which translates by device).
    pub devid: Option<u32>,
}

impl MsiMessage {
    /// Creates a message without a device ID.
    #[inline]
    #[must_use]
    pub const fn new(address: u64, data: u32) -> Self {
        Self {
            address,
            data,
            devid: None,
        }
    }

    /// Returns the message with this device ID.
    #[inline]
    #[must_use]
    pub const fn with_devid(mut self, devid: u32) -> Self {
        self.devid = Some(devid);
        self
    }

    /// Returns the message in KVM's form for 32-bit APIC IDs (KVM_CAP_X2APIC_API, x86).
    ///
    /// The input is a message in the form of KVM_FEATURE_MSI_EXT_DEST_ID: bits 8 to 14 of the
    /// destination are in bits 5 to 11 of the address. Any other message is returned as it is. Use
    /// it as a translation: `RoutingTableBuilder::translate` of the crate `irq-routing`.
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

impl fmt::Debug for MsiMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsiMessage")
            .field("address", &Hex(self.address))
            .field("data", &Hex(self.data))
            .field("devid", &self.devid.map(Hex))
            .finish()
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

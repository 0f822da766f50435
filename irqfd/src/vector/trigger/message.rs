// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`SharedMessage`]: a message that triggers read without a lock.

use irq_routing::MsiMessage;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// No device id; a real one has 32 bits.
const NO_DEVID: u64 = u64::MAX;
/// There is no message: the translation lets none through.
const BLOCKED: u64 = u64::MAX - 1;

/// What a trigger sends, in parts. It is whole for a trigger that is in flight, because it changes
/// only while the gate is closed and nothing is; the gate orders the memory. For the owner of a
/// queue the vector's lock does.
#[derive(Debug)]
pub(crate) struct SharedMessage {
    address: AtomicU64,
    data: AtomicU32,
    devid: AtomicU64,
}

impl SharedMessage {
    pub(crate) fn new() -> Self {
        Self {
            address: AtomicU64::new(0),
            data: AtomicU32::new(0),
            devid: AtomicU64::new(NO_DEVID),
        }
    }

    pub(crate) fn load(&self) -> Option<MsiMessage> {
        let devid = self.devid.load(Ordering::Relaxed);
        (devid != BLOCKED).then(|| MsiMessage {
            address: self.address.load(Ordering::Relaxed),
            data: self.data.load(Ordering::Relaxed),
            devid: u32::try_from(devid).ok(),
        })
    }

    pub(crate) fn store(&self, message: Option<MsiMessage>) {
        let Some(message) = message else {
            return self.devid.store(BLOCKED, Ordering::Relaxed);
        };
        let devid = message.devid.map_or(NO_DEVID, u64::from);
        self.address.store(message.address, Ordering::Relaxed);
        self.data.store(message.data, Ordering::Relaxed);
        self.devid.store(devid, Ordering::Relaxed);
    }
}

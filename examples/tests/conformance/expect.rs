// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The expectations of cases.

use nix::errno::Errno;

use crate::backend::{Backend, Bus, ExitWrite, Reply};
use crate::event::Event;

#[track_caller]
pub(crate) fn expect_ok(reply: Reply) {
    assert_eq!(reply, Ok(0));
}

#[track_caller]
pub(crate) fn expect_errno(reply: Reply, errno: Errno) {
    assert_eq!(reply, Err(errno));
}

/// Asserts how often the eventfd was signalled since the last call; 0 is EAGAIN.
#[track_caller]
pub(crate) fn expect_count(event: &Event, count: u64) {
    let expected = if count == 0 {
        Err(Errno::EAGAIN)
    } else {
        Ok(count)
    };
    assert_eq!(event.read(), expected, "the counter");
}

impl dyn Backend + '_ {
    /// Writes 1 to an eventfd, and waits until that has had its effect.
    #[track_caller]
    pub(crate) fn signal(&self, event: &Event) {
        assert_eq!(event.write(1), Ok(8));
        self.settle();
    }

    /// Exactly these vectors arrived at the local APIC since the last call, in ascending order.
    #[track_caller]
    pub(crate) fn expect_msi(&self, vectors: &[u8]) {
        assert_eq!(self.vectors(), vectors, "vectors in the local APIC");
        self.clear_vectors();
    }

    /// No vector arrived at the local APIC.
    #[track_caller]
    pub(crate) fn expect_silence(&self) {
        self.expect_msi(&[]);
    }

    /// The kernel takes the write, by a doorbell or a device.
    #[track_caller]
    pub(crate) fn expect_taken(&self, bus: Bus, address: u64, bytes: &[u8]) {
        assert_eq!(self.guest_write(bus, address, bytes), [], "exits");
    }

    /// The write exits to user space unchanged.
    #[track_caller]
    pub(crate) fn expect_exit(&self, bus: Bus, address: u64, bytes: &[u8]) {
        let exits = self.guest_write(bus, address, bytes);
        assert_eq!(exits, [ExitWrite::new(address, bytes)], "exits");
    }

    /// The pending requests of the first PIC, the second PIC, and the IOAPIC: a bit for each pin.
    #[track_caller]
    pub(crate) fn expect_lines(&self, master: u8, slave: u8, ioapic: u32) {
        let [first, second] = self.pics();
        let found = (first.irr, second.irr, self.ioapic_irr());
        assert_eq!(found, (master, slave, ioapic), "PIC, PIC, IOAPIC");
    }
}

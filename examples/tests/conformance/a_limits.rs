// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_IOEVENTFD: how many doorbells there can be.
//!
//! A bus has room for 1000 devices. Doorbells do not count, but a bus that is full of other devices
//! takes no doorbell either.

use nix::errno::Errno::ENOSPC;

use crate::backend::Bus;
use crate::case::{Case, case};
use crate::event::Event;
use crate::expect::{expect_errno, expect_ok};
use crate::request::{MMIO, PORT, wildcard};

/// One device of the memory bus is the IOAPIC.
const ZONES: u64 = 999;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("1000_devices_fill_a_bus", |host| {
            let (vm, event) = (host.vm(), Event::new());
            for zone in 0..ZONES {
                expect_ok(vm.coalesce(Bus::Mmio, MMIO + zone * 0x10, 0x10));
            }
            expect_errno(vm.coalesce(Bus::Mmio, MMIO + ZONES * 0x10, 0x10), ENOSPC);
            let refused = wildcard(&event, Bus::Mmio, MMIO + 0x10_0000, 4);
            expect_errno(vm.ioeventfd(&refused), ENOSPC);
            // The other bus has its own limit.
            expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Pio, PORT, 4)));
        }),
        case("2000_doorbells_do_not", |host| {
            let (vm, event) = (host.vm(), Event::new());
            for bell in 0..2000 {
                expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Mmio, MMIO + bell * 8, 4)));
            }
            expect_ok(vm.coalesce(Bus::Mmio, MMIO + 0x10_0000, 0x10));
            vm.expect_taken(Bus::Mmio, MMIO + 1999 * 8, &[1, 0, 0, 0]);
            vm.expect_exit(Bus::Mmio, MMIO + 1999 * 8 + 4, &[1, 0, 0, 0]);
            assert_eq!(event.read(), Ok(1));
        }),
    ]
}

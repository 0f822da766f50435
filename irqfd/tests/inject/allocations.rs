// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A successful injection allocates nothing, and makes one request to the kernel.

use std::sync::Arc;

use allocation_counter::measure;
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::inject::{self, Injected};
use kvm_test::Nothing;

#[test]
fn nothing_is_allocated() {
    let table = RoutingTable::new(Arc::new(Nothing)).unwrap();
    let message = MsiMessage::new(0xfee0_0000, 0x41);
    let line = table.lease_msi(message).unwrap().into_line().unwrap();
    let counted = measure(|| {
        assert_eq!(
            inject::message(&table, message).unwrap(),
            Injected::Delivered(1)
        );
        if cfg!(target_arch = "x86_64") {
            inject::line(&line, true).unwrap();
            assert_eq!(inject::line_status(&line, true).unwrap(), Injected::Untold);
        }
        assert_eq!(inject::vcpu(&Nothing, 0x41).unwrap(), Injected::Queued);
    });
    assert_eq!(counted.count_total, 0);
    let witness = measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(witness.count_total, 1, "the counter counts");
}

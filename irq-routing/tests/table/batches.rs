// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Many vectors at once: the number of ioctls does not depend on the number of vectors.

use std::sync::Arc;

use irq_routing::{Platform, RoutingTable, Wiring};
use notify_sim::{CallKind, SimVm};

use crate::message;

#[test]
fn two_thousand_vectors_come_and_go_with_one_ioctl_each_way() {
    let vm = Arc::new(SimVm::builder().build());
    let builder = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    let tables = || vm.calls(CallKind::SetGsiRouting);
    let leases: Vec<_> = (0..2048).map(|_| table.lease().unwrap()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(1));
    }
    transaction.commit().unwrap();
    assert_eq!((tables(), table.routes().len()), (1, 2048));

    drop(leases);
    assert_eq!((tables(), table.routes().len()), (1, 0));
    table.flush().unwrap();
    assert_eq!(tables(), 2);
    table.flush().unwrap();
    assert_eq!(tables(), 2, "nothing was left");
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Histories of a routing table with failing commits, beside a map of what must be committed.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Arbitrary;
use irq_routing::{GsiLease, MsiMessage, RoutingTable};
use kvm_test::{Call, Recorder};
use libfuzzer_sys::fuzz_target;
use notify_core::RouteTarget;

#[derive(Debug, Arbitrary)]
enum Step {
    Lease,
    Exact(u16),
    Drop(u8),
    /// Lease and data for each edit, and whether the kernel refuses them.
    Commit(Vec<(u8, Option<u16>)>, bool),
    Flush,
}

fuzz_target!(|steps: Vec<Step>| {
    let vm = Arc::new(Recorder::default());
    let Ok(table) = RoutingTable::new(vm.clone()) else {
        return;
    };
    let mut leases: Vec<GsiLease> = Vec::new();
    let mut model = BTreeMap::new();
    for step in steps {
        match step {
            Step::Lease => leases.extend(table.lease()),
            Step::Exact(gsi) => leases.extend(table.lease_exact(gsi.into())),
            Step::Drop(index) if usize::from(index) < leases.len() => {
                let lease = leases.swap_remove(index.into());
                model.remove(&lease.gsi().number());
            }
            Step::Drop(_) => {}
            Step::Commit(edits, refuse) => {
                let mut transaction = table.transaction();
                let mut edited = model.clone();
                for (index, data) in edits {
                    let Some(lease) = leases.get(usize::from(index)) else {
                        continue;
                    };
                    let gsi = lease.gsi().number();
                    match data {
                        Some(data) => {
                            transaction.route(lease, MsiMessage::new(0, data.into()));
                            edited.insert(gsi, u32::from(data));
                        }
                        None => {
                            transaction.unroute(lease);
                            edited.remove(&gsi);
                        }
                    }
                }
                if refuse {
                    vm.fail_after(0, 22);
                }
                if transaction.commit().is_ok() {
                    model = edited;
                }
            }
            Step::Flush => drop(table.flush()),
        }
    }
    // One that is still to come must not hide what the last table looks like.
    while table.recommit().is_err() {}
    let Some(Call::Routes(entries)) = vm.take().pop() else {
        panic!("a recommit always issues");
    };
    let committed: BTreeMap<_, _> = entries
        .into_iter()
        .map(|entry| match entry.target {
            RouteTarget::Msi { data, .. } => (entry.gsi, data),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(committed, model);
});

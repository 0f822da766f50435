// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Routing tables.

use irq_routing::{EditOutcome, GsiLease, MsiMessage, RoutingTable, Wiring};
use kvm_test::Machine;

use crate::call::*;
use crate::row::{Row, Section, Thread, beside, leak, on, take};
use crate::shown::Routing;

pub(crate) fn sections() -> Vec<Section> {
    vec![Section {
        subject: "the routing table",
        thread: Thread::Vmm,
        columns: &[],
        kvm: true,
        rows: rows(),
    }]
}

fn machine() -> &'static Machine {
    Box::leak(Box::new(Machine::new().unwrap()))
}

fn table() -> &'static Routing {
    leak(Routing(RoutingTable::new(machine().vm()).unwrap()))
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, vector)
}

fn leased() -> (&'static Routing, GsiLease) {
    let table = table();
    (table, table.lease().unwrap())
}

fn rows() -> Vec<Row> {
    let mut rows = tables();
    rows.extend(leases());
    rows.extend(commits());
    rows
}

fn tables() -> Vec<Row> {
    vec![
        Row::new(
            "`RoutingTable::new`, the VM has its irqchip",
            &[KVM_IRQFD],
            || {
                take(machine().vm(), |vm| {
                    std::mem::forget(RoutingTable::new(vm).unwrap())
                })
            },
        ),
        Row::new("`RoutingTableBuilder::build` with a wiring", &[], || {
            take(machine().vm(), |vm| {
                let builder = RoutingTable::builder(vm).wiring(Wiring::pc());
                std::mem::forget(builder.build().unwrap());
            })
        }),
        Row::new(
            "the first commit of a table that is older than the irqchip",
            &[KVM_SET_GSI_ROUTING, KVM_IRQFD],
            || {
                let vm_fd = kvm_test::bare().unwrap();
                let vm = notify_core::KvmVm::try_from(&vm_fd).unwrap();
                let table = RoutingTable::new(std::sync::Arc::new(vm)).unwrap();
                vm_fd.create_irq_chip().unwrap();
                std::mem::forget(vm_fd);
                on(leak(table), |table| {
                    std::mem::forget(table.lease_msi(message(0x41)).unwrap())
                })
            },
        ),
        Row::new("`snapshot`, `dump`, `explain`, `routes`", &[], || {
            on(table(), |table| {
                let (snapshot, dump) = (table.snapshot(), table.dump());
                (snapshot, dump, table.explain(5_u32), table.routes())
            })
        }),
        Row::new("`restore`", &[KVM_SET_GSI_ROUTING], || {
            let saved = table();
            std::mem::forget(saved.lease_msi(message(0x41)).unwrap());
            let both = leak((saved.snapshot(), table()));
            on(both, |(snapshot, table)| table.restore(snapshot).unwrap())
        }),
        Row::new("drop of the table", &[], || {
            let machine = machine();
            let table = RoutingTable::new(machine.vm()).unwrap();
            take(table, drop)
        }),
    ]
}

fn leases() -> Vec<Row> {
    vec![
        Row::new("`lease`, `lease_exact`, `lease_block`", &[], || {
            on(table(), |table| {
                std::mem::forget(table.lease().unwrap());
                std::mem::forget(table.lease_exact(100).unwrap());
                std::mem::forget(table.lease_block(4).unwrap());
            })
        }),
        Row::new(
            "`line`, `drive`, `into_line` of a route that is committed",
            &[],
            || {
                let table = table();
                beside(table, table.lease_msi(message(0x41)).unwrap(), |lease| {
                    let driven = lease.table().line(5).unwrap().drive().unwrap();
                    std::mem::forget((driven, lease.into_line().unwrap()));
                })
            },
        ),
        Row::new("`park`, `unpark`", &[], || {
            let table = table();
            beside(table, table.lease_msi(message(0x41)).unwrap(), |lease| {
                std::mem::forget(lease.park().unpark().unwrap());
            })
        }),
        Row::new("drop of a lease", &[], || {
            let table = table();
            beside(table, table.lease_msi(message(0x41)).unwrap(), drop)
        }),
    ]
}

fn commits() -> Vec<Row> {
    vec![
        Row::new("`lease_msi`", &[KVM_SET_GSI_ROUTING], || {
            on(table(), |table| {
                std::mem::forget(table.lease_msi(message(0x41)).unwrap())
            })
        }),
        Row::new("`set_route`", &[KVM_SET_GSI_ROUTING], || {
            on(leak(leased()), |(_, lease)| {
                lease.set_route(message(0x42)).unwrap()
            })
        }),
        Row::new("`set_route` with the route that it has", &[], || {
            let lease = table().lease_msi(message(0x41)).unwrap();
            on(leak(lease), |lease| lease.set_route(message(0x41)).unwrap())
        }),
        Row::new("`Transaction::commit`", &[KVM_SET_GSI_ROUTING], || {
            on(leak(leased()), |(table, lease)| {
                let mut transaction = table.transaction();
                transaction.route(lease, message(0x42));
                transaction.commit().unwrap();
            })
        }),
        Row::new("`commit_each`", &[KVM_SET_GSI_ROUTING], || {
            on(leak(leased()), |(_, lease)| {
                let edit = lease.edit(message(0x42));
                lease.table().commit_each([edit], |_, outcome| {
                    assert!(matches!(outcome, EditOutcome::Committed), "{outcome:?}");
                });
            })
        }),
        Row::new(
            "`flush`, a lease with a route was dropped",
            &[KVM_SET_GSI_ROUTING],
            || {
                let table = table();
                drop(table.lease_msi(message(0x41)).unwrap());
                on(table, |table| table.flush().unwrap())
            },
        ),
        Row::new("`flush`, nothing has changed", &[], || {
            on(table(), |table| table.flush().unwrap())
        }),
        Row::new("`recommit`", &[KVM_SET_GSI_ROUTING], || {
            on(table(), |table| table.recommit().unwrap())
        }),
        Row::new("`retranslate`, messages stay as they are", &[], || {
            on(table(), |table| table.retranslate().unwrap())
        }),
    ]
}

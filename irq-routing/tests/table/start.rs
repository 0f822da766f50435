// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The initial routes of a table, and that a VM has one table.

use std::io;
use std::sync::Arc;

use irq_routing::{EditOutcome, Error, IrqChip, Pin, Platform, RestoreError, RoutingTable, Wiring};
use kvm_test::{Call, Recorder};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, RouteBuffer,
    RouteEntry, RouteTarget, Vm,
};
use notify_sim::{CallKind, Profile, SimVm};

use crate::message;

/// A VM over a hypervisor other than KVM: it implements only what it must.
#[derive(Debug)]
struct Foreign(SimVm);

impl Vm for Foreign {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.0.check_extension(capability)
    }
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.0.irqfd(request)
    }
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.0.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.0.set_gsi_routing(table)
    }
    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.0.signal_msi(message)
    }
    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.0.irq_line_status(gsi, level)
    }
}

fn vm(profile: Profile) -> Arc<SimVm> {
    Arc::new(SimVm::builder().profile(profile).build())
}

/// How many of GSI 0 to 23 are routed in the VM.
fn wired(vm: &SimVm) -> usize {
    let is_wired = |gsi: &u32| vm.irq_line_status(*gsi, false).unwrap() != LineStatus::Ignored;
    (0..24).filter(is_wired).count()
}

/// The last table that the kernel got.
fn entries(vm: &Recorder) -> Vec<RouteEntry> {
    match vm.take().pop() {
        Some(Call::Routes(entries)) => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_costs_no_pin() {
    let vm = vm(Profile::X86);
    let table = RoutingTable::new(vm.clone()).unwrap();
    assert_eq!(
        (table.routes().len(), table.platform()),
        (24, Platform::X86)
    );
    assert_eq!(
        vm.calls(CallKind::SetGsiRouting),
        0,
        "nothing until a commit"
    );
    let lease = table.lease_msi(message(1)).unwrap();
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    assert_eq!(wired(&vm), 24);
    drop(lease);
    table.flush().unwrap();
    assert_eq!(wired(&vm), 24);
}

#[test]
fn a_split_irqchip_starts_with_nothing() {
    let vm = vm(Profile::X86Split { pins: 24 });
    let table = RoutingTable::new(vm.clone()).unwrap();
    assert_eq!(
        (table.routes(), table.platform()),
        (Vec::new(), Platform::X86Split)
    );
    let _lease = table.lease_msi(message(1)).unwrap();
    let pin = Pin::new(IrqChip::IoApic, 4).unwrap();
    let error = table.lease().unwrap().set_route(pin).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuchChip {
                platform: Platform::X86Split,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_irqchip_may_be_created_after_the_table() {
    let vm = Arc::new(Recorder::default());
    vm.lack_irqchip();
    let table = RoutingTable::new(vm.clone()).unwrap();
    assert_eq!(table.routes(), []);
    let lease = table.lease().unwrap();
    for _ in 0..2 {
        let error = lease.set_route(message(1)).unwrap_err();
        assert!(
            matches!(error, Error::NoIrqChip { cause: None, .. }),
            "{error}"
        );
        let mut outcomes = Vec::new();
        table.commit_each([lease.edit(message(2))], |_, outcome| {
            outcomes.push(outcome)
        });
        let [EditOutcome::Failed(error)] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert!(matches!(**error, Error::NoIrqChip { cause: None, .. }));
    }
    assert!(matches!(table.line(4), Err(Error::NoIrqChip { .. })));
    assert_eq!(vm.take(), [], "the kernel is not asked");
    vm.has(Platform::X86);
    lease.set_route(message(1)).unwrap();
    assert_eq!(entries(&vm).len(), 40 + 1);
    // It is decided once.
    vm.has(Platform::X86Split);
    lease.set_route(message(2)).unwrap();
    assert_eq!(entries(&vm).len(), 40 + 1);
}

#[test]
fn a_gsi_that_was_leased_before_the_irqchip_came_stays_leased() {
    let vm = Arc::new(Recorder::default());
    vm.lack_irqchip();
    let table = RoutingTable::new(vm.clone()).unwrap();
    let lease = table.lease_exact(4).unwrap();
    vm.has(Platform::X86);
    lease.set_route(message(1)).unwrap();
    let of_4 = entries(&vm).into_iter().filter(|entry| entry.gsi == 4);
    let targets: Vec<_> = of_4.map(|entry| entry.target).collect();
    assert!(
        matches!(targets[..], [RouteTarget::Msi(MsiMessage { .. })]),
        "{targets:?}"
    );
}

#[test]
fn a_vm_that_does_not_tell_leaves_it_to_the_builder() {
    let foreign = || Arc::new(Foreign(SimVm::builder().build()));
    let table = RoutingTable::new(foreign()).unwrap();
    let error = table.lease_msi(message(1)).unwrap_err();
    assert!(matches!(error, Error::UnknownWiring { platform: None, .. }));
    assert!(error.to_string().contains("RoutingTableBuilder::wiring"));

    let builder = RoutingTable::builder(foreign()).wiring(Wiring::none(Platform::X86));
    let table = builder.build().unwrap();
    let _lease = table.lease_msi(message(1)).unwrap();
    assert_eq!(table.routes().len(), 1);
}

#[test]
fn kvm_does_not_tell_how_many_pins_a_gic_has() {
    let vm = vm(Profile::Arm64Gic { spis: 64 });
    vm.init_gic();
    let table = RoutingTable::new(vm.clone()).unwrap();
    let error = table.recommit().unwrap_err();
    let platform = Some(Platform::Arm64Gic);
    assert!(matches!(error, Error::UnknownWiring { platform: found, .. } if found == platform));
    drop(table);
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::gic(64).unwrap());
    let table = table.build().unwrap();
    table.recommit().unwrap();
    assert_eq!(table.routes().len(), 64);
}

#[test]
fn a_line_of_the_wiring_is_in_the_kernel() {
    let vm = vm(Profile::X86);
    let table = RoutingTable::new(vm.clone()).unwrap();
    assert!(matches!(table.line(24), Err(Error::NoRoute { .. })));
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 0);
    let lines = [table.line(4).unwrap(), table.line(5).unwrap()];
    assert_eq!(vm.calls(CallKind::SetGsiRouting), 1);
    drop(lines);
}

#[test]
fn a_table_for_another_irqchip_says_so() {
    let vm = vm(Profile::X86Split { pins: 24 });
    let table = RoutingTable::builder(vm).wiring(Wiring::pc());
    let table = table.build().unwrap();
    let error = table.lease_msi(message(1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherPlatform {
                table: Platform::X86,
                vm: Platform::X86Split,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_restore_replaces_what_the_table_has_started_with() {
    let source = RoutingTable::new(vm(Profile::X86)).unwrap();
    let mut transaction = source.transaction();
    transaction.unwire(source.gsi(9).unwrap());
    transaction.commit().unwrap();
    let low = source.lease_exact(9).unwrap();
    low.set_route(message(7)).unwrap();
    let snapshot = source.snapshot();

    let vm = Arc::new(Recorder::default());
    vm.has(Platform::X86);
    let table = RoutingTable::new(vm.clone()).unwrap();
    vm.fail_after(0, crate::EINVAL);
    let error = table.restore(&snapshot).unwrap_err();
    assert!(matches!(error, RestoreError::Refused { .. }), "{error}");
    assert_eq!(table.routes().len(), 24, "as it was");
    assert_eq!(table.leased(), 0);
    vm.take();

    table.restore(&snapshot).unwrap();
    assert_eq!(table.routes(), source.routes());
    let given = entries(&vm);
    assert_eq!(given.len(), 38 + 1);
    assert_eq!(table.claim(9).unwrap().route(), low.route());
    // After a first commit it is not empty any more.
    assert!(matches!(
        table.restore(&snapshot),
        Err(RestoreError::NotEmpty)
    ));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a table asks of its machine, and what it refuses before the machine is asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use irq_routing::{Error, GsiLease, IrqChip, MsiMessage, Pin, Pins, Platform, Route, RoutingTable};
use kvm_test::{Call, Recorder};
use notify_core::{Capability, MsiRequest, RouteEntry, RouteTarget};

const EINVAL: i32 = 22;

fn table() -> (Arc<Recorder>, RoutingTable) {
    let vm = Arc::new(Recorder::default());
    let table = RoutingTable::new(vm.clone()).unwrap();
    (vm, table)
}

fn message(data: u32) -> MsiMessage {
    MsiMessage::new(0xfee0_0000, data)
}

fn pin(chip: IrqChip, number: u32) -> Pin {
    Pin::new(chip, number).unwrap()
}

/// The GSIs of the tables that were committed since the last time.
fn committed(vm: &Recorder) -> Vec<Vec<u32>> {
    let gsis = |call| match call {
        Call::Routes(entries) => entries.iter().map(|entry| entry.gsi).collect(),
        other => panic!("{other:?}"),
    };
    vm.take().into_iter().map(gsis).collect()
}

#[track_caller]
fn route(table: &RoutingTable, lease: &GsiLease, data: u32) {
    let mut transaction = table.transaction();
    transaction.route(lease, message(data));
    transaction.commit().unwrap();
}

#[test]
fn leases_come_lowest_first_and_return() {
    let (vm, table) = table();
    let leases: Vec<_> = (0..3).map(|_| table.lease().unwrap()).collect();
    let numbers: Vec<_> = leases.iter().map(|lease| lease.gsi().number()).collect();
    assert_eq!(numbers, [24, 25, 26], "the first 24 are for pins");
    drop(leases.into_iter().nth(1));
    assert_eq!(table.leased(), 0);
    assert_eq!(table.lease().unwrap().gsi().number(), 24);
    assert!(vm.take().is_empty(), "leases cost no ioctl");
}

#[test]
fn exact_leases_may_be_reserved_ones() {
    let (_, table) = table();
    let five = table.lease_exact(5).unwrap();
    let high = table.lease_exact(4095).unwrap();
    assert!(matches!(table.lease_exact(5), Err(Error::GsiInUse { gsi }) if gsi == five.gsi()));
    let out = table.lease_exact(4096).unwrap_err();
    assert_eq!(
        out.to_string(),
        "GSI 4096 is out of range: the machine has 4096"
    );
    drop((five, high));
    assert!(table.lease_exact(5).is_ok());
    assert_eq!(
        table.lease().unwrap().gsi().number(),
        24,
        "5 stays reserved"
    );
}

#[test]
fn exhaustion_counts() {
    let (_, table) = table();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    assert_eq!(leases.len(), 4096 - 24);
    let error = table.lease().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Exhausted {
                leased: 4072,
                limit: 4096
            }
        ),
        "{error}"
    );
    drop(leases);
    assert_eq!(table.leased(), 0);
}

#[test]
fn a_machine_without_gsis_has_no_table_and_one_with_too_many_gets_fewer() {
    let vm = Arc::new(Recorder::default());
    vm.answer(Capability::IrqRouting, 0);
    assert!(matches!(
        RoutingTable::new(vm.clone()),
        Err(Error::NoRoutingTable)
    ));
    vm.answer(Capability::IrqRouting, u32::MAX);
    assert_eq!(RoutingTable::new(vm).unwrap().limit(), 65536);
}

#[test]
fn a_gsi_of_a_larger_machine_is_out_of_range() {
    let (_, large) = table();
    let vm = Arc::new(Recorder::default());
    vm.answer(Capability::IrqRouting, 64);
    let small = RoutingTable::new(vm.clone()).unwrap();
    let mut transaction = small.transaction();
    transaction.wire(large.gsi(4000).unwrap(), pin(IrqChip::IoApic, 1));
    let error = transaction.commit().unwrap_err().error;
    assert!(
        matches!(
            error,
            Error::GsiOutOfRange {
                gsi: 4000,
                limit: 64
            }
        ),
        "{error}"
    );
    assert!(vm.take().is_empty());
}

#[test]
fn messages_keep_clear_of_the_pins_of_each_platform() {
    for (platform, first) in [
        (Platform::X86, 24),
        (Platform::X86Split, 24),
        (Platform::Arm64Gic, 988),
        (Platform::Riscv64Aia, 1024),
    ] {
        let builder = RoutingTable::builder(Arc::new(Recorder::default()));
        let table = builder.platform(platform).build().unwrap();
        assert_eq!(table.lease().unwrap().gsi().number(), first, "{platform}");
    }
}

#[test]
fn every_kind_of_route_is_given_to_the_kernel_as_it_is() {
    let (vm, table) = table();
    let from_device = message(5).with_devid(8);
    assert_eq!(MsiRequest::from(from_device).devid, Some(8));
    for (route, target) in [
        (
            Route::Msi(from_device),
            RouteTarget::Msi {
                address: 0xfee0_0000,
                data: 5,
                devid: Some(8),
            },
        ),
        (
            Route::HvSint { vcpu: 3, sint: 4 },
            RouteTarget::HvSint { vcpu: 3, sint: 4 },
        ),
        (
            Route::XenEvtchn {
                port: 7,
                vcpu: 8,
                priority: 9,
            },
            RouteTarget::XenEvtchn {
                port: 7,
                vcpu: 8,
                priority: 9,
            },
        ),
        (
            Route::from(pin(IrqChip::PicSlave, 6)),
            RouteTarget::IrqChip { chip: 1, pin: 6 },
        ),
    ] {
        let lease = table.lease().unwrap();
        lease.set_route(route).unwrap();
        let calls = vm.take();
        assert_eq!(calls, [Call::Routes(vec![RouteEntry::new(24, target)])]);
        assert_eq!(lease.route(), Some(route));
    }
}

#[test]
fn the_last_edit_of_a_gsi_counts() {
    let (vm, table) = table();
    let line = table.lease_msi(message(1)).unwrap().into_line().unwrap();
    let lease = line.lease().unwrap();
    vm.take();
    let mut transaction = table.transaction();
    transaction.unroute(lease).route(lease, message(2));
    transaction.commit().unwrap();
    assert_eq!(lease.route(), Some(Route::Msi(message(2))));
    assert_eq!(vm.take().len(), 1);
    let mut transaction = table.transaction();
    transaction
        .route(lease, message(9))
        .route(lease, message(2));
    transaction.commit().unwrap();
    assert!(vm.take().is_empty(), "nothing changed in the end");
    let mut transaction = table.transaction();
    transaction.route(lease, message(3)).unroute(lease);
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::RouteHeld { .. }
    ));
}

#[test]
fn the_first_commit_always_issues_and_a_vain_one_never() {
    let (vm, table) = table();
    table.transaction().commit().unwrap();
    assert_eq!(committed(&vm), [vec![]], "the kernel's default is replaced");
    table.transaction().commit().unwrap();
    let lease = table.lease().unwrap();
    route(&table, &lease, 1);
    assert_eq!(committed(&vm), [vec![24]]);
    route(&table, &lease, 1);
    assert!(vm.take().is_empty(), "nothing changed");
    table.recommit().unwrap();
    assert_eq!(committed(&vm), [vec![24]]);
}

#[test]
fn a_transaction_is_one_ioctl_and_a_dropped_one_none() {
    let (vm, table) = table();
    let leases: Vec<_> = (0..64).map(|_| table.lease().unwrap()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(1));
    }
    assert_eq!(leases[0].route(), None);
    transaction.commit().unwrap();
    assert_eq!(committed(&vm), [(24..88).collect::<Vec<_>>()]);
    assert_eq!(leases[0].route(), Some(Route::Msi(message(1))));

    table.transaction().route(&leases[0], message(2));
    assert_eq!(leases[0].route(), Some(Route::Msi(message(1))));
    assert!(vm.take().is_empty());
}

#[test]
fn dropping_leases_costs_no_ioctl_and_the_next_commit_carries_the_removal() {
    let (vm, table) = table();
    let leases: Vec<_> = (1..9)
        .map(|data| table.lease_msi(message(data)).unwrap())
        .collect();
    vm.take();
    let mut leases = leases.into_iter();
    let kept = leases.next_back().unwrap();
    drop(leases);
    assert!(vm.take().is_empty());

    table.transaction().commit().unwrap();
    assert!(
        vm.take().is_empty(),
        "nothing else changed: the removal can wait"
    );
    route(&table, &kept, 42);
    assert_eq!(committed(&vm), [vec![31]]);
    table.flush().unwrap();
    assert!(vm.take().is_empty(), "nothing is left to remove");
    drop(kept);
    table.flush().unwrap();
    assert_eq!(committed(&vm), [vec![]]);
}

#[test]
fn a_stale_gsi_that_is_leased_anew_leads_nowhere_until_it_is_routed() {
    let (vm, table) = table();
    drop(table.lease_msi(message(1)).unwrap());
    let again = table.lease().unwrap();
    assert_eq!(again.gsi().number(), 24);
    assert_eq!(again.route(), None);
    let rejected = again.into_line().unwrap_err();
    assert!(matches!(rejected.error, Error::NoRoute { .. }));
    let again = rejected.value;

    vm.take();
    let other = table.lease_msi(message(2)).unwrap();
    assert_eq!(committed(&vm), [vec![25]], "the stale route went");
    route(&table, &again, 3);
    assert_eq!(committed(&vm), [vec![25, 24]]);
    drop(other);
}

#[test]
fn a_stale_route_that_is_wanted_again_needs_no_ioctl() {
    let (vm, table) = table();
    drop(table.lease_msi(message(1)).unwrap());
    vm.take();
    let again = table.lease_msi(message(1)).unwrap();
    assert!(vm.take().is_empty());
    let other = table.lease_msi(message(2)).unwrap();
    assert_eq!(committed(&vm), [vec![24, 25]], "it is not stale any more");
    drop((again, other));
}

#[test]
fn a_refused_commit_leaves_everything_and_spoils_nobody() {
    let (vm, table) = table();
    let (one, two) = (
        table.lease_msi(message(1)).unwrap(),
        table.lease_msi(message(2)).unwrap(),
    );
    drop(table.lease_msi(message(3)).unwrap());
    vm.take();

    vm.fail_after(0, EINVAL);
    let mut transaction = table.transaction();
    transaction.unroute(&one).route(&two, message(9));
    transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
    let rejected = transaction.commit().unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "the kernel refused the routing table with 3 new routes, the first of GSI 24"
    );
    assert_eq!(one.route(), Some(Route::Msi(message(1))));
    assert_eq!(two.route(), Some(Route::Msi(message(2))));
    assert_eq!(table.route(table.gsi(4).unwrap()), None);
    vm.take();

    table.transaction().commit().unwrap();
    assert!(vm.take().is_empty(), "what the kernel has is still known");
    let other = table.lease_msi(message(4)).unwrap();
    assert_eq!(
        committed(&vm),
        [vec![24, 25, 26]],
        "as if it had never been"
    );
    rejected.value.commit().unwrap();
    assert_eq!(one.route(), None);
    assert_eq!(committed(&vm), [vec![4, 26, 25]]);
    drop(other);
}

#[test]
fn a_refused_first_commit_leaves_the_table_unknown() {
    let (vm, table) = table();
    vm.fail_after(0, EINVAL);
    assert!(table.transaction().commit().is_err());
    table.transaction().commit().unwrap();
    assert_eq!(vm.take().len(), 2);
}

#[test]
fn an_edit_needs_the_lease_of_its_gsi() {
    let (_, one) = table();
    let (vm, other) = table();
    let foreign = one.lease().unwrap();
    let native = other.lease().unwrap();
    assert_eq!(foreign.gsi(), native.gsi());
    let mut transaction = other.transaction();
    transaction.route(&foreign, message(1));
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::NotLeased { gsi } if gsi == native.gsi()));

    let mut transaction = other.transaction();
    transaction.route(&native, message(1));
    drop(native);
    let successor = other.lease().unwrap();
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::NotLeased { .. }
    ));
    assert_eq!(successor.route(), None);
    assert!(vm.take().is_empty());
}

#[test]
fn a_route_stays_while_a_line_holds_it() {
    let (_, table) = table();
    let line = table.lease_msi(message(1)).unwrap().into_line().unwrap();
    let lease = line.lease().unwrap();
    let mut transaction = table.transaction();
    transaction.unroute(lease);
    let rejected = transaction.commit().unwrap_err();
    assert!(matches!(rejected.error, Error::RouteHeld { gsi } if gsi == line.gsi()));
    route(&table, lease, 2);

    let lease = line.into_lease().unwrap();
    rejected.value.commit().unwrap();
    assert_eq!(lease.route(), None);
}

#[test]
fn wiring_is_shared_and_stays_while_somebody_has_a_share() {
    let (vm, table) = table();
    let four = table.gsi(4).unwrap();
    assert!(matches!(table.line(4), Err(Error::NoRoute { .. })));
    let mut transaction = table.transaction();
    transaction.wire(four, pin(IrqChip::IoApic, 4));
    transaction.commit().unwrap();
    let (one, other) = (table.line(4).unwrap(), table.line(4).unwrap());
    assert!(one.lease().is_none());
    assert!(matches!(table.lease_exact(4), Err(Error::GsiInUse { .. })));

    let unwire = || {
        let mut transaction = table.transaction();
        transaction.unwire(four);
        transaction.commit()
    };
    assert!(matches!(
        unwire().unwrap_err().error,
        Error::RouteHeld { .. }
    ));
    drop(one);
    assert!(unwire().is_err());
    drop(other);
    vm.take();
    unwire().unwrap();
    assert_eq!(committed(&vm), [vec![]]);

    let line = table.lease_exact(5).unwrap();
    line.set_route(message(1)).unwrap();
    line.into_line().unwrap().quarantine();
    assert!(matches!(table.line(5), Err(Error::GsiInUse { .. })));
    assert!(matches!(table.lease_exact(5), Err(Error::GsiInUse { .. })));

    let lease = table.lease_exact(4).unwrap();
    let mut transaction = table.transaction();
    transaction.wire(four, pin(IrqChip::IoApic, 4));
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::GsiInUse { .. }
    ));
    assert!(matches!(table.line(4), Err(Error::GsiInUse { .. })));
    drop(lease);
}

#[test]
fn pins_stand_in_front_by_chip_and_gsi_whatever_came_first() {
    let (vm, table) = table();
    let msi = table.lease_msi(message(1)).unwrap();
    let both = |n| Pins::new([pin(IrqChip::IoApic, n), pin(IrqChip::PicMaster, n)]).unwrap();
    for number in [3, 1] {
        let mut transaction = table.transaction();
        transaction.wire(table.gsi(number).unwrap(), both(number));
        transaction.commit().unwrap();
    }
    assert_eq!(committed(&vm)[2], [1, 3, 1, 3, 24]);
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(3).unwrap(), pin(IrqChip::IoApic, 7));
    transaction.commit().unwrap();
    assert_eq!(committed(&vm), [vec![1, 1, 3, 24]]);

    // A leased GSI may lead to a pin, and change its mind.
    let mut transaction = table.transaction();
    transaction.route(&msi, pin(IrqChip::PicSlave, 0));
    transaction.commit().unwrap();
    assert_eq!(committed(&vm), [vec![1, 24, 1, 3]]);
    route(&table, &msi, 5);
    assert_eq!(committed(&vm), [vec![1, 1, 3, 24]]);
}

#[test]
fn pins_of_another_platform_are_refused() {
    let (_, table) = table();
    let lease = table.lease().unwrap();
    let mut transaction = table.transaction();
    transaction.route(&lease, pin(IrqChip::Gic, 100));
    let error = transaction.commit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "GSI 24 cannot lead to the GIC: the machine is of the kind x86 irqchip"
    );
    let split = RoutingTable::builder(Arc::new(Recorder::default()))
        .platform(Platform::X86Split)
        .reserved_gsis(64)
        .build()
        .unwrap();
    let lease = split.lease().unwrap();
    assert_eq!(lease.gsi().number(), 64);
    let mut transaction = split.transaction();
    transaction.route(&lease, pin(IrqChip::IoApic, 3));
    assert!(matches!(
        transaction.commit().unwrap_err().error,
        Error::NoSuchChip { .. }
    ));
}

#[test]
fn the_kernel_takes_no_more_entries_than_gsis() {
    let (vm, table) = table();
    let leases: Vec<_> = std::iter::from_fn(|| table.lease().ok()).collect();
    let mut transaction = table.transaction();
    for lease in &leases {
        transaction.route(lease, message(1));
    }
    transaction.commit().unwrap();
    vm.take();

    let mut transaction = table.transaction();
    for number in 0..24 {
        let mut pins = vec![pin(IrqChip::IoApic, number)];
        pins.extend(Pin::new(IrqChip::PicMaster, number).ok());
        transaction.wire(table.gsi(number).unwrap(), Pins::new(pins).unwrap());
    }
    let error = transaction.commit().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table would have 4104 entries, and the kernel takes 4096"
    );
    assert!(vm.take().is_empty(), "the kernel was not asked");
    table.recommit().unwrap();
    assert_eq!(committed(&vm)[0].len(), 4072);
}

#[test]
fn numbers_are_validated_where_they_are_made() {
    for chip in [
        IrqChip::PicMaster,
        IrqChip::PicSlave,
        IrqChip::IoApic,
        IrqChip::Gic,
        IrqChip::Aplic,
    ] {
        let last = u32::from(chip.pins()) - 1;
        assert_eq!(Pin::new(chip, last).unwrap().number(), last);
        for number in [last + 1, 0x1_0000, u32::MAX] {
            assert!(matches!(
                Pin::new(chip, number),
                Err(Error::NoSuchPin { .. })
            ));
        }
    }
    assert!(matches!(Pins::new([]), Err(Error::NoPins)));
    let twice = [pin(IrqChip::IoApic, 1), pin(IrqChip::IoApic, 2)];
    assert!(matches!(
        Pins::new(twice),
        Err(Error::TwoPinsOfOneChip { .. })
    ));
    let mixed = [pin(IrqChip::IoApic, 1), pin(IrqChip::Gic, 2)];
    assert!(matches!(Pins::new(mixed), Err(Error::TwoPlatforms { .. })));
    let three = [
        pin(IrqChip::IoApic, 9),
        pin(IrqChip::PicMaster, 2),
        pin(IrqChip::PicSlave, 1),
    ];
    let chips: Vec<_> = Pins::new(three)
        .unwrap()
        .iter()
        .map(|pin| pin.chip())
        .collect();
    assert_eq!(
        chips,
        [IrqChip::PicMaster, IrqChip::PicSlave, IrqChip::IoApic]
    );
}

#[test]
fn routes_read_as_they_are_spoken_of() {
    let both = Pins::new([pin(IrqChip::IoApic, 2), pin(IrqChip::PicMaster, 0)]).unwrap();
    for (route, text) in [
        (Route::from(both), "PIC master pin 0, IOAPIC pin 2"),
        (message(0x41).into(), "MSI 0x41 to 0xfee00000"),
        (
            message(1).with_devid(0x20).into(),
            "MSI 0x1 to 0xfee00000 from device 0x20",
        ),
        (Route::HvSint { vcpu: 1, sint: 2 }, "SINT 2 of vCPU 1"),
    ] {
        assert_eq!(route.to_string(), text);
    }
}

/// A machine whose author made a mistake.
#[derive(Debug, Default)]
struct Panicking {
    recorder: Recorder,
    armed: std::sync::atomic::AtomicBool,
}

impl notify_core::Vm for Panicking {
    fn capability(&self, capability: notify_core::Capability) -> std::io::Result<u32> {
        self.recorder.capability(capability)
    }
    fn irqfd(&self, request: &notify_core::IrqFdRequest<'_>) -> std::io::Result<()> {
        self.recorder.irqfd(request)
    }
    fn ioeventfd(&self, request: &notify_core::IoEventFdRequest<'_>) -> std::io::Result<()> {
        self.recorder.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &notify_core::RouteBuffer) -> std::io::Result<()> {
        assert!(
            !self.armed.load(std::sync::atomic::Ordering::Relaxed),
            "a bug of the machine"
        );
        self.recorder.set_gsi_routing(table)
    }
    fn signal_msi(
        &self,
        message: &notify_core::MsiRequest,
    ) -> std::io::Result<notify_core::MsiOutcome> {
        self.recorder.signal_msi(message)
    }
    fn set_irq_line(&self, gsi: u32, level: bool) -> std::io::Result<notify_core::LineStatus> {
        self.recorder.set_irq_line(gsi, level)
    }
}

#[test]
fn a_machine_that_panics_in_a_commit_spoils_nothing() {
    let vm = Arc::new(Panicking::default());
    let arm = |armed| vm.armed.store(armed, std::sync::atomic::Ordering::Relaxed);
    let table = RoutingTable::new(vm.clone()).unwrap();
    let [changed, removed, added] = [1, 2, 3].map(|data| table.lease_msi(message(data)).unwrap());
    let mut transaction = table.transaction();
    transaction.unroute(&added);
    transaction.commit().unwrap();
    vm.recorder.take();
    table.recommit().unwrap();
    let before = vm.recorder.take();

    let panicking = || {
        arm(true);
        let mut transaction = table.transaction();
        transaction.route(&changed, message(7)).unroute(&removed);
        transaction.route(&added, message(8));
        transaction.wire(table.gsi(4).unwrap(), pin(IrqChip::IoApic, 4));
        let commit = std::panic::AssertUnwindSafe(|| transaction.commit());
        assert!(std::panic::catch_unwind(commit).is_err());
        arm(false);
    };
    panicking();
    assert_eq!(changed.route(), Some(Route::Msi(message(1))));
    assert_eq!(added.route(), None);
    table.transaction().commit().unwrap();
    assert_eq!(
        vm.recorder.take(),
        before,
        "what the kernel has was not known"
    );
    table.transaction().commit().unwrap();
    assert!(vm.recorder.take().is_empty(), "now it is");

    panicking();
    table.flush().unwrap();
    assert_eq!(vm.recorder.take(), before, "a flush makes good, too");
    table.flush().unwrap();
    assert!(vm.recorder.take().is_empty());
}

#[test]
fn a_missing_irqchip_is_told_from_other_refusals() {
    let (vm, table) = table();
    vm.lack_irqchip();
    vm.fail_after(0, EINVAL);
    assert!(matches!(table.recommit(), Err(Error::NoIrqChip { .. })));
    vm.fail_after(0, 12);
    assert!(
        matches!(table.recommit(), Err(Error::Refused { .. })),
        "out of memory is another thing"
    );
}

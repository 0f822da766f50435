// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which thread arms a vector, what it costs other threads, and what a panic leaves behind.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use irq_routing::{Platform, RoutingTable, Wiring};
use irqfd::{ArmQueue, IrqFdError, Triggered, VectorError, VectorState, msi, msix};
use kvm_test::{Nothing, wait_until};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, RouteBuffer, Vm,
};
use notify_sim::{CallKind, Profile, SimVm};

use super::queue::is_readable;
use super::{expect_state, exported, guilty, message, queued, table};

/// A VM in which each commit waits until the test releases it.
#[derive(Debug)]
struct Slow {
    commits: AtomicUsize,
    started: Mutex<mpsc::Sender<()>>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Vm for Slow {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        Nothing.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        Nothing.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        Nothing.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let _ = self.started.lock().unwrap().send(());
        let _ = self.go.lock().unwrap().recv();
        Nothing.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        Nothing.signal_msi(message)
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        Nothing.irq_line_status(gsi, level)
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        Nothing.platform()
    }
}

/// A guest that rewrites the message again and again pays for it on its own vCPU: the exporting
/// thread waits for one commit.
#[test]
fn a_caller_works_for_itself() {
    let (started, is_started) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let vm = Arc::new(Slow {
        commits: AtomicUsize::new(0),
        started: Mutex::new(started),
        go: Mutex::new(may_go),
    });
    let table = RoutingTable::new(vm.clone()).unwrap();
    let device = msi::Capability::builder(&table).build().unwrap();
    assert!(device.write(4, &0xfee0_0000_u64.to_le_bytes()).is_empty());
    assert!(device.write(0xc, &[0x40, 0]).is_empty());
    assert!(device.write(2, &[1]).is_empty());
    let vector = device.vector(0).unwrap();
    thread::scope(|scope| {
        let exports = scope.spawn(|| drop(vector.export().unwrap()));
        is_started.recv().unwrap();
        // Each write of the guest comes while the commit of the one before it is in the kernel.
        let mut guests = Vec::new();
        for data in 0x41..0x51_u8 {
            let device = &device;
            guests.push(scope.spawn(move || device.write(0xc, &[data, 0])));
            wait_until(|| vector.message().data == u32::from(data));
            go.send(()).unwrap();
            is_started.recv().unwrap();
        }
        // The first commit has ended, and with it the export.
        wait_until(|| exports.is_finished());
        go.send(()).unwrap();
        let dead = guests.into_iter().flat_map(|guest| guest.join().unwrap());
        assert_eq!(dead.count(), 0);
    });
    expect_state(vector, "Armed");
    assert_eq!(vector.message().data, 0x50);
    assert_eq!(vm.commits.load(Ordering::SeqCst), 17);
}

/// The guilty vector's commit panics after another vector of the same access was masked and
/// unmasked again.
#[test]
fn a_panic_spoils_no_vector_that_has_changed_since() {
    let (vm, table) = table();
    let device = msix::Table::builder(&table).vectors(2).build().unwrap();
    for number in 0..2_u16 {
        let offset = 16 * u64::from(number);
        device.vector(number).unwrap().export().unwrap();
        drop(device.write(offset, &0xfee0_0000_u64.to_le_bytes()));
        drop(device.write(offset + 8, &(0x40 + u64::from(number)).to_le_bytes()));
    }
    let (first, seen) = (device.clone(), device.vector(0).unwrap().clone());
    vm.during_commit(|| panic!("as ordered: both"));
    vm.during_commit(|| {}); // the innocent one
    let changes = move || {
        drop(first.write(12, &1_u32.to_le_bytes()));
        drop(first.write(8, &0x44_u32.to_le_bytes()));
        drop(first.write(12, &0_u32.to_le_bytes()));
    };
    let has_begun = move || seen.message().data == 0x44 && !seen.is_masked();
    vm.elsewhere_during_commit(changes, has_begun);
    vm.during_commit(|| {});
    let opened = catch_unwind(AssertUnwindSafe(|| drop(device.set_control(true, false))));
    vm.join();
    drop(opened);
    let vector = device.vector(0).unwrap();
    expect_state(vector, "Armed");
    vector.trigger().unwrap();
    vm.expect(&[0x44]);
}

#[test]
fn a_panic_of_a_bind_leaves_nothing_bound_and_nothing_stuck() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vm.during_bind(|| panic!("as ordered"));
    catch_unwind(AssertUnwindSafe(|| vector.unmask())).unwrap_err();
    expect_state(&vector, "Dead(Panicked");
    assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
    vm.expect(&[]);
    vector.mask();
    vector.unmask().unwrap();
    expect_state(&vector, "Armed");
    vm.expect(&[0x40]);
    assert_eq!(table.leased(), 1);
}

/// Each of many is handled; then the panic goes on.
#[test]
fn a_panic_of_one_bind_spoils_no_other_vector_of_the_round() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let vectors: Vec<_> = (0..4).map(|n| queued(&queue, &table, n).0).collect();
    vectors.iter().for_each(|vector| vector.unmask().unwrap());
    vm.during_bind(|| {});
    vm.during_bind(|| panic!("as ordered"));
    catch_unwind(AssertUnwindSafe(|| queue.run_pending())).unwrap_err();
    for (number, vector) in vectors.iter().enumerate() {
        let state = if number == 1 {
            "Dead(Panicked"
        } else {
            "Armed"
        };
        expect_state(vector, state);
    }
    // It is tried again.
    wait_until(|| is_readable(&queue));
    assert_eq!(queue.run_pending().armed, 1);
    vectors.iter().for_each(|vector| drop(vector.trigger()));
    vm.expect(&[0, 1, 2, 3]);
}

#[test]
fn a_panic_of_a_disarm_keeps_the_gsi_out_of_use_and_unwinds_nowhere() {
    #[derive(Debug)]
    struct Panics;

    impl Vm for Panics {
        fn check_extension(&self, capability: Extension) -> io::Result<u32> {
            Nothing.check_extension(capability)
        }

        fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
            let assigns = matches!(request.action, notify_core::IrqFdAction::Assign);
            assert!(assigns, "as ordered");
            Ok(())
        }

        fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
            Nothing.ioeventfd(request)
        }

        fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
            Nothing.set_gsi_routing(table)
        }

        fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
            Nothing.signal_msi(message)
        }

        fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
            Nothing.irq_line_status(gsi, level)
        }

        fn platform(&self) -> io::Result<Option<Platform>> {
            Nothing.platform()
        }
    }

    let table = RoutingTable::new(Arc::new(Panics)).unwrap();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let first = table.routes()[0].0;
    vector.mask();
    vector.unmask().unwrap();
    assert_eq!(table.leased(), 1, "the first GSI belongs to no lease");
    assert_eq!(table.routes()[0].0, first, "and its route stays");
    drop(vector);
    assert_eq!((table.leased(), table.routes().len()), (0, 2));
}

/// arm64 returns EAGAIN until the GIC is initialised, for instance while a VM is restored.
#[test]
fn an_irqchip_that_is_not_ready_is_tried_again() {
    let profile = Profile::Arm64Gic { spis: 32 };
    let vm = Arc::new(SimVm::builder().profile(profile).build());
    let table = RoutingTable::builder(vm.clone()).wiring(Wiring::none(Platform::Arm64Gic));
    let table = table.build().unwrap();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    let round = queue.run_pending();
    assert!(matches!(
        &round.failed[0].reason,
        VectorError::Arm(IrqFdError::NotReady { .. })
    ));
    expect_state(&vector, "Dead(Arm(NotReady");
    wait_until(|| is_readable(&queue));
    vm.init_gic();
    table.recommit().unwrap();
    assert_eq!(queue.run_pending().armed, 1);
    assert!(!is_readable(&queue));
}

/// The descriptor becomes readable for each retry, and stays silent when all is well.
#[test]
fn what_may_pass_calls_the_owner_until_it_has_passed() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    notifier.notify().unwrap();
    vector.unmask().unwrap();
    for errno in [libc::ENOMEM, libc::EINTR, libc::EAGAIN] {
        vm.sim.fail(CallKind::SetGsiRouting, 1, errno);
        wait_until(|| is_readable(&queue));
        let round = queue.run_pending();
        assert_eq!((round.armed, round.failed.len()), (0, 1));
        assert_eq!(queue.waiting(), 1);
        expect_state(&vector, "Dead(Route");
    }
    assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
    wait_until(|| is_readable(&queue));
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x40]);
    assert_eq!(vector.trigger().unwrap(), Triggered::Signalled);
    vm.expect(&[0x40]);
    thread::sleep(std::time::Duration::from_millis(20));
    assert!(!is_readable(&queue) && queue.waiting() == 0);
}

/// Messages that the kernel refuses by a known rule cost two commits, and the next time one.
#[test]
fn a_hostile_device_costs_another_one_two_commits() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let device = msix::Table::builder(&table).vectors(2040).queue(&queue);
    let device = device.name("evil").build().unwrap();
    drop(device.set_control(true, true));
    for (number, vector) in (0..).zip(device.vectors()) {
        vector.export().unwrap();
        drop(device.write(16 * number, &0x1_fee0_0000_u64.to_le_bytes()));
        drop(device.write(16 * number + 8, &0x40_u64.to_le_bytes()));
    }
    assert!(
        device.set_control(true, false).is_empty(),
        "they are queued"
    );
    let (bystander, notifier) = queued(&queue, &table, 0x50);
    notifier.notify().unwrap();
    let bystander = Arc::new(bystander);
    let other = Arc::clone(&bystander);
    vm.during_commit(move || other.unmask().unwrap());
    vm.sim.reset_calls();
    let round = queue.run_pending();
    assert_eq!((round.armed, round.failed.len()), (0, 2040));
    assert!(vm.calls()[0] <= 2, "{:?}", vm.calls());
    let dead = &round.failed[7];
    assert_eq!((dead.number, dead.name.as_deref()), (Some(7), Some("evil")));
    assert!(
        dead.to_string().starts_with("vector 7 of evil is dead: "),
        "{dead}"
    );
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x50]);
    assert!(vm.calls()[0] <= 3, "{:?}", vm.calls());

    // Once more, and on the vCPU: the rule is known.
    drop(queue);
    vm.sim.reset_calls();
    drop(device.set_control(true, true));
    assert_eq!(device.set_control(true, false).len(), 2040);
    vm.expect_calls([0, 0, 0, 0]);
}

/// A message that is refused by an unknown rule is searched for, round by round, and another
/// device's is found in the first round.
#[test]
fn a_round_of_unknown_refusals_is_bounded() {
    let vm = Arc::new(kvm_test::Recorder::default());
    let commits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&commits);
    vm.on_routes(move |entries| {
        counter.fetch_add(1, Ordering::SeqCst);
        let bad = |entry: &notify_core::RouteEntry| format!("{entry:?}").contains("data: 0x29a");
        match entries.iter().any(bad) {
            true => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            false => Ok(()),
        }
    });
    let table = RoutingTable::new(vm.clone()).unwrap();
    let queue = ArmQueue::new(&table).unwrap();
    let device = msix::Table::builder(&table).vectors(200).queue(&queue);
    let device = device.build().unwrap();
    for (number, vector) in (0..).zip(device.vectors()) {
        vector.export().unwrap();
        drop(device.write(16 * number + 8, &666_u64.to_le_bytes()));
    }
    let (bystander, _) = queued(&queue, &table, 0x50);
    let bystanders_turn = |round: usize| {
        bystander.mask();
        bystander.unmask().unwrap();
        commits.store(0, Ordering::SeqCst);
        drop(queue.run_pending());
        let commits = commits.load(Ordering::SeqCst);
        assert!(commits <= 16, "{commits} in round {round}");
        assert!(
            queue.waiting() == 0 || is_readable(&queue),
            "what was not tried"
        );
        expect_state(&bystander, "Armed");
    };
    drop(device.set_control(true, false));
    let mut rounds = 0;
    let dead = || {
        let states = device.vectors().iter().map(|vector| vector.state());
        states
            .filter(|state| matches!(state, VectorState::Dead(_)))
            .count()
    };
    while dead() < 200 {
        bystanders_turn(rounds);
        rounds += 1;
        assert!(rounds < 200, "{} are dead", dead());
    }
    drop(queue.run_pending());
    assert!(queue.waiting() == 0 && !is_readable(&queue));
}

/// A write of a guest for which no GSI is free makes no list of those that have one.
#[test]
fn want_of_gsis_names_no_holders() {
    let (_vm, table) = table();
    let name = |(number, lease): (usize, irq_routing::GsiLease)| lease.named(format!("{number}"));
    let leases = std::iter::from_fn(|| table.lease().ok()).enumerate();
    let leases: Vec<_> = leases.map(name).collect();
    let device = msix::Table::builder(&table).vectors(2048).build().unwrap();
    for (number, vector) in (0..).zip(device.vectors()) {
        vector.export().unwrap();
        drop(device.write(16 * number + 12, &[0; 4]));
    }
    let counted = allocation_counter::measure(|| {
        assert_eq!(device.set_control(true, false).len(), 2048);
    });
    assert!(counted.bytes_max < 1 << 20, "{}", counted.bytes_max);
    assert!(counted.bytes_total < 4 << 20, "{}", counted.bytes_total);
    drop(leases);
}

/// The access that has killed a vector returns so.
#[test]
fn no_vector_dies_in_silence() {
    let (_vm, table) = table();
    let device = msix::Table::builder(&table).vectors(3).name("net0");
    let device = device.build().unwrap();
    let notifier = device.vector(1).unwrap().export().unwrap();
    drop(device.set_control(true, false));
    drop(device.write(16, &0x1_fee0_0000_u64.to_le_bytes()));
    let dead = device.write(24, &0x41_u64.to_le_bytes());
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].number, dead[0].name.as_deref()),
        (Some(1), Some("net0"))
    );
    assert!(matches!(&dead[0].reason, VectorError::Route { .. }));
    let vector = &dead[0].vector;
    assert_eq!(vector.trigger().unwrap(), Triggered::Dead);
    assert!(notifier.is_signalled().unwrap());

    // An internal one, whose trigger was kept.
    device.vector(2).unwrap().trigger().unwrap();
    drop(device.write(32, &0x1_fee0_0000_u64.to_le_bytes()));
    let dead = device.write(40, &0x42_u64.to_le_bytes());
    assert!(
        matches!(&dead[0].reason, VectorError::MessageRefused { .. }),
        "{dead:?}"
    );
    assert_eq!(dead[0].number, Some(2));
}

#[test]
fn a_device_is_told_to_use_its_pin() {
    let (vm, table) = table();
    let device = msix::Table::builder(&table).vectors(2).build().unwrap();
    device.vector(1).unwrap().export().unwrap();
    for number in 0..2 {
        let vector = device.vector(number).unwrap();
        assert_eq!(vector.trigger().unwrap(), Triggered::Disabled);
    }
    drop(device.set_control(true, true));
    assert_eq!(
        device.vector(0).unwrap().trigger().unwrap(),
        Triggered::Kept
    );
    let exported = device.vector(1).unwrap();
    assert_eq!(exported.trigger().unwrap(), Triggered::Signalled);
    vm.expect(&[]);
}

/// If only one message is bad, it is refused at once.
#[test]
fn one_refusal_costs_one_commit() {
    let (vm, table) = table();
    let (vector, _) = exported(&table, 0x40);
    vector.set_message(guilty(0x40)).unwrap();
    let error = vector.unmask().unwrap_err();
    assert!(matches!(error, VectorError::Route { .. }), "{error}");
    assert!(matches!(vector.state(), VectorState::Dead(_)));
    assert!(vm.calls()[0] <= 2, "{:?}", vm.calls());
    vector.set_message(message(0x41)).unwrap();
    vector.trigger().unwrap();
    vm.expect(&[0x41]);
}

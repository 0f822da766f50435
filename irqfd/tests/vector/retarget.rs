// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Another message for a vector that is armed.

use std::sync::Arc;

use irq_routing::{MsiMessage, Platform, RoutingTable, Wiring};
use irqfd::ArmQueue;
use notify_sim::CallKind;

use super::{Machine, expect_state, exported, guilty, message, queued, table};

/// One commit, and the irqfd stays.
const IN_PLACE: [u64; 4] = [1, 0, 0, 0];
/// One commit, and the irqfd is bound again.
const DISARMED: [u64; 4] = [1, 1, 1, 0];

#[test]
fn its_route_is_exchanged_in_place() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let gsi = table.routes()[0].0;
    vm.expect_calls([1, 1, 0, 0]);
    for data in 0x41..0x44 {
        vector.set_message(message(data)).unwrap();
        vm.expect_calls(IN_PLACE);
        expect_state(&vector, "Armed");
        assert_eq!(table.route(gsi), Some(message(data).into()));
        notifier.notify().unwrap();
        vm.expect(&[data]);
    }
    vector.mask();
    vector.unmask().unwrap();
    vm.expect_calls([0, 1, 1, 0]);
}

/// On hosts that post interrupts such a message ends the posting, and some kernels do not end it.
#[test]
fn it_is_disarmed_first_if_a_message_is_not_for_one_apic() {
    let to_all = MsiMessage::new(0xfeef_f000, 0x42);
    let logical = MsiMessage::new(0xfee0_1004, 0x43);
    let nmi = MsiMessage::new(0xfee0_0000, 0x400);
    let any_of_several = MsiMessage::new(0xfee0_1008, 0x45);
    let level = MsiMessage::new(0xfee0_1000, 0x8046);
    for other in [to_all, logical, nmi, any_of_several, level] {
        let (vm, table) = table();
        let (vector, _) = exported(&table, 0x40);
        vector.unmask().unwrap();
        vm.expect_calls([1, 1, 0, 0]);
        for message in [other, message(0x44)] {
            vector.set_message(message).unwrap();
            vm.expect_calls(DISARMED);
            expect_state(&vector, "Armed");
        }
    }
}

#[test]
fn it_is_disarmed_first_if_its_queue_commits_later() {
    let (vm, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, notifier) = queued(&queue, &table, 0x40);
    vector.unmask().unwrap();
    let _ = queue.run_pending();
    vm.expect_calls([1, 1, 0, 0]);
    vector.set_message(message(0x41)).unwrap();
    expect_state(&vector, "Queued");
    notifier.notify().unwrap();
    vm.expect(&[]);
    assert_eq!(queue.run_pending().armed, 1);
    vm.expect(&[0x41]);
    vm.expect_calls(DISARMED);
}

#[test]
fn it_is_disarmed_first_where_messages_are_translated() {
    let vm = Arc::new(Machine::default());
    let table = RoutingTable::builder(vm.clone())
        .wiring(Wiring::none(Platform::X86))
        .translate(Some)
        .build()
        .unwrap();
    let (vector, _) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.expect_calls([1, 1, 0, 0]);
    vector.set_message(message(0x41)).unwrap();
    vm.expect_calls(DISARMED);
}

#[test]
fn a_refusal_disarms() {
    for refused in [false, true] {
        let (vm, table) = table();
        let (vector, notifier) = exported(&table, 0x40);
        vector.unmask().unwrap();
        vm.expect_calls([1, 1, 0, 0]);
        let other = match refused {
            true => guilty(0x41),
            false => {
                vm.sim.fail(CallKind::SetGsiRouting, 1, libc::ENOMEM);
                message(0x41)
            }
        };
        vector.set_message(other).unwrap_err();
        expect_state(&vector, "Dead(Route");
        notifier.notify().unwrap();
        vm.expect(&[]);
        assert!(vector.is_pending());
        vector.set_message(message(0x42)).unwrap();
        expect_state(&vector, "Armed");
        vm.expect(&[0x42]);
    }
}

#[test]
fn a_mask_during_the_commit_masks() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    let vector = Arc::new(vector);
    let other = Arc::clone(&vector);
    vm.during_commit(move || other.mask());
    vector.set_message(message(0x41)).unwrap();
    expect_state(&vector, "Masked");
    notifier.notify().unwrap();
    vm.expect(&[]);
    vector.unmask().unwrap();
    vm.expect(&[0x41]);
}

/// The later one takes effect, whichever commit ends last.
#[test]
fn another_message_during_the_commit_counts() {
    for refused in [false, true] {
        let (vm, table) = table();
        let (vector, notifier) = exported(&table, 0x40);
        vector.unmask().unwrap();
        let vector = Arc::new(vector);
        let other = Arc::clone(&vector);
        vm.elsewhere_during_commit(
            {
                let other = Arc::clone(&other);
                move || other.set_message(message(0x42)).unwrap()
            },
            move || other.message() == message(0x42),
        );
        if refused {
            vm.sim.fail(CallKind::SetGsiRouting, 1, libc::ENOMEM);
        }
        let _ = vector.set_message(message(0x41));
        vm.join();
        expect_state(&vector, "Armed");
        notifier.notify().unwrap();
        vm.expect(&[0x42]);
    }
}

#[test]
fn a_panic_of_the_machine_leaves_nothing_stuck() {
    let (vm, table) = table();
    let (vector, notifier) = exported(&table, 0x40);
    vector.unmask().unwrap();
    vm.during_commit(|| panic!("as ordered"));
    let retarget = std::panic::AssertUnwindSafe(|| vector.set_message(message(0x41)));
    let _ = std::panic::catch_unwind(retarget).unwrap_err();
    expect_state(&vector, "Dead(Panicked");
    notifier.notify().unwrap();
    vm.expect(&[]);
    vector.mask();
    vector.unmask().unwrap();
    vm.expect(&[0x41]);
}

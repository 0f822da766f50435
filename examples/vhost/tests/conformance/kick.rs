// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a kick does to a vsock device that runs.

use std::os::fd::AsFd;

use kvm_test::wait_until;

use crate::ioctl::Purpose::Kick;
use crate::missing::Trials;
use crate::wired::{Wired, event, taken};

pub(crate) fn add(trials: &mut Trials) {
    let mut add = |name: &str, run: fn()| trials.add("kick", name, run);
    add("wakes_the_worker", || {
        let device = Wired::running_vsock();
        device.send();
        wait_until(|| device.tx().used_index() == 1);
        wait_until(|| taken(&device.call) == 1);
    });
    // The other tests rely on this when they expect that nothing happens.
    add("is_handled_when_another_one_has_been_taken_away", || {
        let device = Wired::running_vsock();
        for used in 1..=100 {
            device.send();
            device.settle();
            assert_eq!(device.tx().used_index(), used);
        }
    });
    add("is_what_a_packet_waits_for", || {
        let device = Wired::running_vsock();
        device.offer();
        device.expect(0, 0, 0);
        device.kick.write(1).unwrap();
        device.expect(1, 1, 0);
    });
    add("takes_all_packets_and_calls_once", || {
        let device = Wired::running_vsock();
        device.offer();
        device.offer();
        device.send();
        device.expect(3, 1, 0);
    });
    add("stays_in_the_counter", || {
        let device = Wired::running_vsock();
        for used in 1..=3 {
            device.send();
            device.expect(used, 1, 0);
        }
        assert_eq!(taken(&device.kick), 3);
    });
    add("may_be_a_write_of_0", || {
        let device = Wired::running_vsock();
        device.offer();
        device.kick.write(0).unwrap();
        device.expect(1, 1, 0);
        assert_eq!(taken(&device.kick), 0);
    });
    add("eventfd_that_is_already_signalled_starts_work", || {
        let device = Wired::running_vsock();
        device.offer();
        let new = event(1);
        device.set(Kick, &new);
        device.expect(1, 1, 0);
        assert_eq!(taken(&new), 1);
    });
    add("eventfd_that_is_not_signalled_starts_nothing", || {
        let device = Wired::running_vsock();
        device.offer();
        let new = event(0);
        device.set(Kick, &new);
        device.expect(0, 0, 0);
        // The device no longer polls the old one.
        device.kick.write(1).unwrap();
        device.expect(0, 0, 0);
        new.write(1).unwrap();
        device.expect(1, 1, 0);
    });
    add("eventfd_set_again_starts_nothing", || {
        let device = Wired::running_vsock();
        device.send();
        device.expect(1, 1, 0);
        device.offer();
        // The counter is 1, but it is the same file, by another descriptor.
        let dup = device.kick.as_fd().try_clone_to_owned().unwrap();
        device.set(Kick, &device.kick);
        device.set(Kick, &dup);
        device.expect(1, 0, 0);
        device.kick.write(1).unwrap();
        device.expect(2, 1, 0);
    });
    add(
        "taken_away_leaves_packets_until_a_pending_one_is_set",
        || {
            let device = Wired::running_vsock();
            device.unset(Kick);
            device.send();
            device.expect(0, 0, 0);
            device.set(Kick, &device.kick);
            device.expect(1, 1, 0);
            assert_eq!(taken(&device.kick), 1);
        },
    );
    add("that_was_read_meanwhile_is_lost", || {
        let device = Wired::running_vsock();
        device.unset(Kick);
        device.send();
        assert_eq!(taken(&device.kick), 1);
        device.set(Kick, &device.kick);
        device.expect(0, 0, 0);
        device.kick.write(1).unwrap();
        device.expect(1, 1, 0);
    });
}

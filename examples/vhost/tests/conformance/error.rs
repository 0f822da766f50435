// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a vsock device does with a ring that is malformed.

use crate::ioctl::Purpose::Error;
use crate::missing::Trials;
use crate::wired::Wired;

/// A guest address without memory.
const NOWHERE: u64 = 0x1234;

pub(crate) fn add(trials: &mut Trials) {
    let mut add = |name: &str, run: fn()| trials.add("error", name, run);
    add(
        "a_bad_descriptor_signals_once_and_the_queue_is_dead",
        || {
            let device = Wired::running_vsock();
            device.send();
            device.expect(1, 1, 0);
            assert!(!device.tx().wants_no_kick());
            device.tx().offer(NOWHERE, 44);
            device.kick.write(1).unwrap();
            device.expect(1, 0, 1);
            // No more signals come, and the device suppresses kicks.
            device.expect(1, 0, 0);
            assert!(device.tx().wants_no_kick());
            device.offer();
            device.expect(1, 0, 0);
        },
    );
    add(
        "a_kick_in_spite_of_that_fails_at_the_same_descriptor",
        || {
            let device = Wired::running_vsock();
            device.tx().offer(NOWHERE, 44);
            device.kick.write(1).unwrap();
            device.expect(0, 0, 1);
            device.send();
            device.expect(0, 0, 1);
        },
    );
    add("an_available_index_far_ahead", || {
        let device = Wired::running_vsock();
        device.send();
        device.expect(1, 1, 0);
        device.tx().jump(1000);
        device.kick.write(1).unwrap();
        device.expect(1, 0, 1);
        device.expect(1, 0, 0);
        assert!(device.tx().wants_no_kick());
    });
    add("without_an_eventfd_it_is_silent", || {
        let device = Wired::running_vsock();
        device.unset(Error);
        device.tx().offer(NOWHERE, 44);
        device.kick.write(1).unwrap();
        device.expect(0, 0, 0);
        // An eventfd that is set later is not signalled.
        device.set(Error, &device.err);
        device.expect(0, 0, 0);
        assert!(device.tx().wants_no_kick());
    });
}

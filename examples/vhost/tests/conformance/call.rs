// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Where the signals go that a vsock device gives when it has used a buffer.

use crate::ioctl::Purpose::Call;
use crate::missing::Trials;
use crate::wired::{Wired, event, taken};

pub(crate) fn add(trials: &mut Trials) {
    let mut add = |name: &str, run: fn()| trials.add("call", name, run);
    add("swapped_is_not_replayed", || {
        let device = Wired::running_vsock();
        device.send();
        device.settle();
        let new = event(0);
        device.set(Call, &new);
        device.settle();
        // The signal stays in the eventfd that was set when it was given.
        assert_eq!(taken(&new), 0);
        device.expect(1, 1, 0);
        device.send();
        device.expect(2, 0, 0);
        assert_eq!(taken(&new), 1);
    });
    add("taken_away_loses_what_completes", || {
        let device = Wired::running_vsock();
        device.unset(Call);
        device.send();
        device.expect(1, 0, 0);
        device.set(Call, &device.call);
        device.expect(1, 0, 0);
        device.send();
        device.expect(2, 1, 0);
    });
    add("that_is_signalled_already_counts_on", || {
        let device = Wired::running_vsock();
        let new = event(5);
        device.set(Call, &new);
        device.send();
        device.settle();
        assert_eq!(taken(&new), 6);
    });
}

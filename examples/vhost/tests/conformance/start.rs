// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When a vsock device starts to work, and what it leaves when it stops.

use nix::errno::Errno::{EBUSY, EFAULT};

use crate::ioctl::Vhost;
use crate::missing::{Trials, VSOCK};
use crate::wired::{RX, TX, VERSION_1, Wired, taken};

pub(crate) fn add(trials: &mut Trials) {
    let mut add = |name: &str, run: fn()| trials.add("start", name, run);
    add("running_before_the_rings_is_efault", || {
        let vhost = Vhost::open(VSOCK).unwrap();
        vhost.set_owner().unwrap();
        vhost.set_mem_table().unwrap();
        vhost.set_features(VERSION_1).unwrap();
        assert_eq!(vhost.vsock_set_running(true), Err(EFAULT));
    });
    add("a_kick_before_it_is_used_up", || {
        let device = Wired::vsock();
        device.send();
        device.expect(0, 0, 0);
        assert_eq!(device.vhost.vsock_set_running(true), Ok(0));
        // The device does not look at the ring by itself.
        device.expect(0, 0, 0);
        device.kick.write(1).unwrap();
        device.expect(1, 1, 0);
        assert_eq!(taken(&device.kick), 2);
    });
    add("a_kick_after_the_stop_stays_in_the_counter", || {
        let device = Wired::running_vsock();
        device.send();
        device.expect(1, 1, 0);
        assert_eq!(taken(&device.kick), 1);
        assert_eq!(device.vhost.vsock_set_running(false), Ok(0));
        device.send();
        device.expect(1, 0, 0);
        assert_eq!(taken(&device.kick), 1);
        // The number of the next packet that it would have taken.
        assert_eq!(device.vhost.vring_base(TX), Ok(1));
    });
    add("again_takes_a_kick_more", || {
        let device = Wired::running_vsock();
        device.vhost.vsock_set_running(false).unwrap();
        device.send();
        device.settle();
        device.vhost.vsock_set_running(true).unwrap();
        device.expect(0, 0, 0);
        device.kick.write(1).unwrap();
        device.expect(1, 1, 0);
    });
    add("size_and_base_are_busy_while_it_runs", || {
        let device = Wired::running_vsock();
        for queue in [RX, TX] {
            assert_eq!(device.vhost.set_vring_num(queue, 8), Err(EBUSY));
            assert_eq!(device.vhost.set_vring_base(queue, 1), Err(EBUSY));
        }
    });
}

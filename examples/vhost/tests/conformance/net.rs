// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! When a network device starts to work: each of its queues has a backend of its own.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno::{EFAULT, ENOTSOCK};

use crate::ioctl::Vhost;
use crate::missing::{NET, Trials};
use crate::tap::Tap;
use crate::wired::{NONE, TX, VERSION_1, Wired, taken};

pub(crate) fn add(trials: &mut Trials) {
    let mut add = |name: &str, run: fn()| trials.add("backend", name, run);
    add("before_the_ring_is_efault", || {
        let tap = Tap::new().unwrap();
        let vhost = Vhost::open(NET).unwrap();
        vhost.set_owner().unwrap();
        vhost.set_mem_table().unwrap();
        vhost.set_features(VERSION_1).unwrap();
        assert_eq!(vhost.net_set_backend(TX, tap.fd()), Err(EFAULT));
    });
    add("that_is_no_network_interface", || {
        let device = Wired::net();
        let file = File::open("/dev/null").unwrap();
        assert_eq!(
            device.vhost.net_set_backend(TX, file.as_raw_fd()),
            Err(ENOTSOCK)
        );
    });
    add("makes_the_device_look_by_itself", || {
        let (tap, device) = (Tap::new().unwrap(), Wired::net());
        device.send();
        // The kick is consumed.
        device.expect(0, 0, 0);
        assert_eq!(taken(&device.kick), 1);
        assert_eq!(device.vhost.net_set_backend(TX, tap.fd()), Ok(0));
        device.expect(1, 1, 0);
        // A kick that comes only now finds nothing left.
        device.kick.write(1).unwrap();
        device.expect(1, 0, 0);
        assert_eq!(device.vhost.net_set_backend(TX, NONE), Ok(0));
    });
    add("takes_packets_that_were_never_kicked", || {
        let (tap, device) = (Tap::new().unwrap(), Wired::net());
        device.offer();
        device.vhost.net_set_backend(TX, tap.fd()).unwrap();
        device.expect(1, 1, 0);
        assert_eq!(taken(&device.kick), 0);
    });
    add("taken_away_leaves_packets_until_there_is_another", || {
        let (tap, device) = (Tap::new().unwrap(), Wired::net());
        device.vhost.net_set_backend(TX, tap.fd()).unwrap();
        device.send();
        device.expect(1, 1, 0);
        device.vhost.net_set_backend(TX, NONE).unwrap();
        device.send();
        device.expect(1, 0, 0);
        assert_eq!(device.vhost.vring_base(TX), Ok(1));
        device.vhost.net_set_backend(TX, tap.fd()).unwrap();
        device.expect(2, 1, 0);
        assert_eq!(taken(&device.kick), 2);
    });
}

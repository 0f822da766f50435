// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the ioctls return, on a device that does not run.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno::{EBADF, EBUSY, EFAULT, EINVAL, ENOBUFS, EPERM};

use crate::ioctl::Purpose::{Call, Error, Kick};
use crate::ioctl::{Outcome, Vhost};
use crate::missing::{Trials, VSOCK};
use crate::wired::{NONE, RX, TX, VERSION_1, event};

/// A number that is no descriptor, and not likely to be one soon.
const CLOSED: i32 = 9999;

/// What a descriptor may be.
#[derive(Clone, Copy)]
enum Given {
    Eventfd,
    DevNull,
    Number(i32),
}

/// Name, queue, descriptor and result, of KICK, CALL and ERR alike.
const DESCRIPTORS: [(&str, u32, Given, Outcome); 8] = [
    ("an_eventfd", RX, Given::Eventfd, Ok(0)),
    ("an_eventfd_of_the_last_queue", TX, Given::Eventfd, Ok(0)),
    ("fd_minus_1", RX, Given::Number(NONE), Ok(0)),
    ("fd_minus_2", RX, Given::Number(-2), Err(EBADF)),
    ("fd_closed", RX, Given::Number(CLOSED), Err(EBADF)),
    ("dev_null", RX, Given::DevNull, Err(EINVAL)),
    ("queue_2", 2, Given::Eventfd, Err(ENOBUFS)),
    ("queue_99", 99, Given::Eventfd, Err(ENOBUFS)),
];

/// Adds the tests of one device, which must have these features.
pub(crate) fn add(trials: &mut Trials, path: &'static str, features: u64) {
    let mut add = |name: &str, run: fn(Vhost)| {
        trials.add("control", name, move || {
            run(Vhost::open(path).unwrap());
        });
    };
    add("set_owner_twice", |vhost| {
        assert_eq!(vhost.set_owner(), Ok(0));
        assert_eq!(vhost.set_owner(), Err(EBUSY));
    });
    add("vring_ioctls_before_set_owner", |vhost| {
        let eventfd = event(0);
        for purpose in [Kick, Call, Error] {
            assert_eq!(vhost.set(purpose, RX, eventfd.as_raw_fd()), Err(EPERM));
        }
        assert_eq!(vhost.set_vring_num(RX, 256), Err(EPERM));
    });
    add("busyloop_timeout", |vhost| {
        vhost.set_owner().unwrap();
        assert_eq!(vhost.busyloop_timeout(RX), Ok(0));
        assert_eq!(vhost.set_busyloop_timeout(RX, 50), Ok(0));
        assert_eq!(vhost.busyloop_timeout(RX), Ok(50));
    });
    add("vring_num", |vhost| {
        vhost.set_owner().unwrap();
        assert_eq!(vhost.set_vring_num(RX, 256), Ok(0));
        assert_eq!(vhost.set_vring_num(RX, 3), Err(EINVAL));
        assert_eq!(vhost.set_vring_num(2, 256), Err(ENOBUFS));
    });
    add("vring_base", |vhost| {
        vhost.set_owner().unwrap();
        assert_eq!(vhost.set_vring_base(RX, 0), Ok(0));
        assert_eq!(vhost.vring_base(RX), Ok(0));
        assert_eq!(vhost.set_vring_base(TX, 7), Ok(0));
        assert_eq!(vhost.vring_base(TX), Ok(7));
        assert_eq!(vhost.vring_base(2), Err(ENOBUFS));
    });
    add("log_fd", |vhost| {
        vhost.set_owner().unwrap();
        assert_eq!(vhost.set_log_fd(NONE), Ok(0));
        assert_eq!(vhost.set_log_fd(event(0).as_raw_fd()), Ok(0));
        assert_eq!(vhost.set_log_fd(CLOSED), Err(EBADF));
    });
    for (purpose, of) in [(Kick, "kick"), (Call, "call"), (Error, "err")] {
        for (name, queue, given, result) in DESCRIPTORS {
            trials.add("control", &format!("{of}_{name}"), move || {
                let (eventfd, file) = (event(0), File::open("/dev/null").unwrap());
                let fd = match given {
                    Given::Eventfd => eventfd.as_raw_fd(),
                    Given::DevNull => file.as_raw_fd(),
                    Given::Number(fd) => fd,
                };
                let vhost = Vhost::open(path).unwrap();
                vhost.set_owner().unwrap();
                assert_eq!(vhost.set(purpose, queue, fd), result);
            });
        }
        trials.add("control", &format!("{of}_again_and_another"), move || {
            let (one, other) = (event(0), event(0));
            let vhost = Vhost::open(path).unwrap();
            vhost.set_owner().unwrap();
            // Neither the same eventfd twice nor one eventfd for two queues is an error.
            for (queue, eventfd) in [(RX, &one), (RX, &one), (RX, &other), (TX, &other)] {
                assert_eq!(vhost.set(purpose, queue, eventfd.as_raw_fd()), Ok(0));
            }
        });
    }
    trials.add("control", "features", move || {
        // Later kernels have more: since 6.1 VIRTIO_F_RING_RESET has come to network devices.
        let vhost = Vhost::open(path).unwrap();
        let expected = features | VERSION_1;
        assert_eq!(vhost.features().unwrap() & expected, expected);
        // VHOST_BACKEND_F_IOTLB_MSG_V2.
        let backend = 1 << 1;
        assert_eq!(vhost.backend_features().unwrap() & backend, backend);
    });
    trials.add("control", "reset_owner", move || {
        let vhost = Vhost::open(path).unwrap();
        assert_eq!(vhost.reset_owner(), Err(EPERM));
        vhost.set_owner().unwrap();
        // A vsock device takes it for the ioctl of a queue, and reads the queue's index from
        // address 0.
        let result = if path == VSOCK { Err(EFAULT) } else { Ok(0) };
        assert_eq!(vhost.reset_owner(), result);
        // Only the network device has no owner after this.
        let result = if path == VSOCK { Err(EBUSY) } else { Ok(0) };
        assert_eq!(vhost.set_owner(), result);
    });
}

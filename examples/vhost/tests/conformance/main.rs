// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the kernel's vhost devices do with kicks and calls: the facts on which the wiring of a
//! queue is based.
//!
//! Verified on Linux 6.1, 6.12 and 7.2. Tests of a missing device are ignored, with the reason as
//! their kind; with `REQUIRE_VHOST=1` they fail.
//!
//! | section | what it is about |
//! |---|---|
//! | `control` | what the ioctls return, of both devices |
//! | `start` | `/dev/vhost-vsock` before and after VHOST_VSOCK_SET_RUNNING |
//! | `kick` | what wakes its worker, and what does not |
//! | `call` | what becomes of its signals |
//! | `error` | what it does with malformed rings |
//! | `backend` | `/dev/vhost-net` before and after VHOST_NET_SET_BACKEND |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod call;
mod control;
mod error;
mod ioctl;
mod kick;
mod memory;
mod missing;
mod net;
mod ring;
mod start;
mod tap;
mod wired;

use std::process::ExitCode;

use missing::{NET, Needs, Trials, VSOCK};

/// VIRTIO_F_NOTIFY_ON_EMPTY, VHOST_F_LOG_ALL, VIRTIO_F_ANY_LAYOUT, VIRTIO_RING_F_INDIRECT_DESC,
/// VIRTIO_RING_F_EVENT_IDX and VIRTIO_F_ACCESS_PLATFORM.
const COMMON_FEATURES: u64 = 1 << 33 | 0x3d00_0000;
/// VIRTIO_VSOCK_F_SEQPACKET, and the common features.
const VSOCK_FEATURES: u64 = COMMON_FEATURES | 1 << 1;
/// VIRTIO_NET_F_MRG_RXBUF, and the common features. VHOST_NET_F_VIRTIO_NET_HDR is ANY_LAYOUT's bit.
const NET_FEATURES: u64 = COMMON_FEATURES | 1 << 15;

fn main() -> ExitCode {
    let mut vsock = Trials::new(Needs::Device(VSOCK));
    control::add(&mut vsock, VSOCK, VSOCK_FEATURES);
    start::add(&mut vsock);
    kick::add(&mut vsock);
    call::add(&mut vsock);
    error::add(&mut vsock);

    let mut net = Trials::new(Needs::Device(NET));
    control::add(&mut net, NET, NET_FEATURES);
    let mut tap = Trials::new(Needs::Tap);
    net::add(&mut tap);

    let made = [vsock, net, tap].map(Trials::made);
    kvm_test::main(made.into_iter().flatten().collect())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Tap`]: a network interface whose other side is a descriptor.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

mod raw {
    nix::ioctl_readwrite_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);
    nix::ioctl_write_ptr_bad!(tun_set_vnet_hdr_size, libc::TUNSETVNETHDRSZ, i32);
    nix::ioctl_readwrite_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
}

/// A tap interface that is up, with virtio 1 headers before its frames. Dropping it removes the
/// interface.
pub(crate) struct Tap(File);

impl Tap {
    /// Creates a tap interface, which needs CAP_NET_ADMIN.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = |flags: i32| libc::__c_anonymous_ifr_ifru {
            ifru_flags: i16::try_from(flags).unwrap(),
        };
        let tap = File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        let mut request = libc::ifreq {
            // The kernel chooses a name, and writes it here.
            ifr_name: [0; libc::IFNAMSIZ],
            ifr_ifru: flags(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR),
        };
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which is borrowed for the call.
        unsafe { raw::tun_set_iff(tap.as_raw_fd(), &raw mut request) }?;
        // SAFETY: TUNSETVNETHDRSZ reads one i32, which outlives the call.
        unsafe { raw::tun_set_vnet_hdr_size(tap.as_raw_fd(), &12) }?;
        // Any Internet socket will do.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        request.ifr_ifru = flags(libc::IFF_UP);
        // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which is borrowed for the call.
        unsafe { raw::set_flags(socket.as_raw_fd(), &raw mut request) }?;
        Ok(Self(tap))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ioctls of a vhost device, malformed ones too.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::memory::Memory;

/// What an ioctl returns.
pub(crate) type Outcome = Result<i32, Errno>;

/// `struct vhost_vring_state`.
#[repr(C)]
struct State {
    index: u32,
    number: u32,
}

/// `struct vhost_vring_file`.
#[repr(C)]
struct Descriptor {
    index: u32,
    fd: i32,
}

/// `struct vhost_vring_addr`.
#[repr(C)]
struct Addresses {
    index: u32,
    flags: u32,
    descriptors: u64,
    used: u64,
    available: u64,
    log: u64,
}

/// `struct vhost_memory` with one region.
#[repr(C)]
struct MemoryTable {
    regions: u32,
    padding: u32,
    guest_address: u64,
    size: u64,
    user_address: u64,
    flags: u64,
}

/// `include/uapi/linux/vhost.h`. Where the size in the number is not that of the argument, or the
/// direction differs, the number is written out.
mod raw {
    use nix::{request_code_none, request_code_write};

    use super::*;

    const VHOST: u8 = 0xaf;

    nix::ioctl_read!(get_features, VHOST, 0x00, u64);
    nix::ioctl_write_ptr!(set_features, VHOST, 0x00, u64);
    nix::ioctl_write_int_bad!(set_owner, request_code_none!(VHOST, 0x01));
    nix::ioctl_write_int_bad!(reset_owner, request_code_none!(VHOST, 0x02));
    nix::ioctl_write_ptr_bad!(
        set_mem_table,
        request_code_write!(VHOST, 0x03, 8),
        MemoryTable
    );
    nix::ioctl_write_ptr!(set_log_fd, VHOST, 0x07, i32);
    nix::ioctl_write_ptr!(set_vring_num, VHOST, 0x10, State);
    nix::ioctl_write_ptr!(set_vring_addr, VHOST, 0x11, Addresses);
    nix::ioctl_write_ptr!(set_vring_base, VHOST, 0x12, State);
    nix::ioctl_readwrite!(get_vring_base, VHOST, 0x12, State);
    nix::ioctl_write_ptr!(set_vring_kick, VHOST, 0x20, Descriptor);
    nix::ioctl_write_ptr!(set_vring_call, VHOST, 0x21, Descriptor);
    nix::ioctl_write_ptr!(set_vring_err, VHOST, 0x22, Descriptor);
    nix::ioctl_write_ptr!(set_busyloop_timeout, VHOST, 0x23, State);
    nix::ioctl_readwrite_bad!(
        get_busyloop_timeout,
        request_code_write!(VHOST, 0x24, size_of::<State>()),
        State
    );
    nix::ioctl_read!(get_backend_features, VHOST, 0x26, u64);
    nix::ioctl_write_ptr!(net_set_backend, VHOST, 0x30, Descriptor);
    nix::ioctl_write_ptr!(vsock_set_guest_cid, VHOST, 0x60, u64);
    nix::ioctl_write_ptr!(vsock_set_running, VHOST, 0x61, i32);
}

/// The descriptors that belong to a queue.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Kick,
    Call,
    Error,
}

/// A vhost device, and the memory that it may use.
pub(crate) struct Vhost {
    // Dropped before the memory: closing the only descriptor ends the device's use of it.
    device: File,
    memory: Memory,
}

impl Vhost {
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        Ok(Self {
            device: File::options().read(true).write(true).open(path)?,
            memory: Memory::new(),
        })
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    fn fd(&self) -> i32 {
        self.device.as_raw_fd()
    }

    pub(crate) fn features(&self) -> Result<u64, Errno> {
        let mut features = 0;
        // SAFETY: VHOST_GET_FEATURES writes one u64, which is borrowed for the call.
        unsafe { raw::get_features(self.fd(), &raw mut features) }.map(|_| features)
    }

    pub(crate) fn backend_features(&self) -> Result<u64, Errno> {
        let mut features = 0;
        // SAFETY: VHOST_GET_BACKEND_FEATURES writes one u64, which is borrowed for the call.
        unsafe { raw::get_backend_features(self.fd(), &raw mut features) }.map(|_| features)
    }

    pub(crate) fn set_features(&self, features: u64) -> Outcome {
        // SAFETY: VHOST_SET_FEATURES reads one u64, which outlives the call.
        unsafe { raw::set_features(self.fd(), &features) }
    }

    pub(crate) fn set_owner(&self) -> Outcome {
        // SAFETY: VHOST_SET_OWNER ignores its argument.
        unsafe { raw::set_owner(self.fd(), 0) }
    }

    pub(crate) fn reset_owner(&self) -> Outcome {
        // SAFETY: VHOST_RESET_OWNER has no argument. A device that does not know it checks the
        // pointer, and finds no memory of this process there.
        unsafe { raw::reset_owner(self.fd(), 0) }
    }

    /// Gives all the memory to the device, at [`Memory::guest_address`].
    pub(crate) fn set_mem_table(&self) -> Outcome {
        let table = MemoryTable {
            regions: 1,
            padding: 0,
            guest_address: Memory::guest_address(0),
            size: Memory::SIZE as u64,
            user_address: self.memory.address(0),
            flags: 0,
        };
        // SAFETY: VHOST_SET_MEM_TABLE reads the header and the one region that it announces. The
        // region is `self.memory`, which no Rust reference but those to atomics points into, and
        // which is unmapped after the device has been closed.
        unsafe { raw::set_mem_table(self.fd(), &table) }
    }

    pub(crate) fn set_log_fd(&self, fd: i32) -> Outcome {
        // SAFETY: VHOST_SET_LOG_FD reads one i32, which outlives the call.
        unsafe { raw::set_log_fd(self.fd(), &fd) }
    }

    pub(crate) fn set_vring_num(&self, index: u32, number: u32) -> Outcome {
        // SAFETY: VHOST_SET_VRING_NUM reads one `State`, which outlives the call.
        unsafe { raw::set_vring_num(self.fd(), &State { index, number }) }
    }

    /// Sets where the rings of a queue are: offsets in the memory.
    pub(crate) fn set_vring_addr(
        &self,
        index: u32,
        descriptors: usize,
        available: usize,
        used: usize,
    ) -> Outcome {
        let addresses = Addresses {
            index,
            flags: 0,
            descriptors: self.memory.address(descriptors),
            used: self.memory.address(used),
            available: self.memory.address(available),
            log: 0,
        };
        // SAFETY: VHOST_SET_VRING_ADDR reads one `Addresses`. They lie in `self.memory`, as with
        // VHOST_SET_MEM_TABLE.
        unsafe { raw::set_vring_addr(self.fd(), &addresses) }
    }

    pub(crate) fn set_vring_base(&self, index: u32, number: u32) -> Outcome {
        // SAFETY: VHOST_SET_VRING_BASE reads one `State`, which outlives the call.
        unsafe { raw::set_vring_base(self.fd(), &State { index, number }) }
    }

    pub(crate) fn vring_base(&self, index: u32) -> Result<u32, Errno> {
        let mut state = State { index, number: 0 };
        // SAFETY: VHOST_GET_VRING_BASE reads and writes one `State`, which is borrowed for the
        // call.
        unsafe { raw::get_vring_base(self.fd(), &raw mut state) }.map(|_| state.number)
    }

    pub(crate) fn set_busyloop_timeout(&self, index: u32, number: u32) -> Outcome {
        // SAFETY: VHOST_SET_VRING_BUSYLOOP_TIMEOUT reads one `State`, which outlives the call.
        unsafe { raw::set_busyloop_timeout(self.fd(), &State { index, number }) }
    }

    pub(crate) fn busyloop_timeout(&self, index: u32) -> Result<u32, Errno> {
        let mut state = State { index, number: 0 };
        // SAFETY: VHOST_GET_VRING_BUSYLOOP_TIMEOUT reads and writes one `State`, which is borrowed
        // for the call.
        unsafe { raw::get_busyloop_timeout(self.fd(), &raw mut state) }.map(|_| state.number)
    }

    /// VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL or VHOST_SET_VRING_ERR.
    pub(crate) fn set(&self, purpose: Purpose, index: u32, fd: i32) -> Outcome {
        let (device, descriptor) = (self.fd(), Descriptor { index, fd });
        // SAFETY: each of them reads one `Descriptor`, which outlives the call.
        unsafe {
            match purpose {
                Purpose::Kick => raw::set_vring_kick(device, &descriptor),
                Purpose::Call => raw::set_vring_call(device, &descriptor),
                Purpose::Error => raw::set_vring_err(device, &descriptor),
            }
        }
    }

    pub(crate) fn net_set_backend(&self, index: u32, fd: i32) -> Outcome {
        // SAFETY: VHOST_NET_SET_BACKEND reads one `Descriptor`, which outlives the call.
        unsafe { raw::net_set_backend(self.fd(), &Descriptor { index, fd }) }
    }

    pub(crate) fn vsock_set_guest_cid(&self, cid: u64) -> Outcome {
        // SAFETY: VHOST_VSOCK_SET_GUEST_CID reads one u64, which outlives the call.
        unsafe { raw::vsock_set_guest_cid(self.fd(), &cid) }
    }

    pub(crate) fn vsock_set_running(&self, running: bool) -> Outcome {
        // SAFETY: VHOST_VSOCK_SET_RUNNING reads one i32, which outlives the call.
        unsafe { raw::vsock_set_running(self.fd(), &i32::from(running)) }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ioctls of a real VM, with the integers of `sim::raw`.
#![allow(unsafe_code, reason = "malformed requests have no safe wrapper")]

use std::os::fd::AsRawFd;

use kvm_bindings::{kvm_ioeventfd, kvm_irq_level, kvm_irq_routing_entry, kvm_irqfd, kvm_msi};
use kvm_ioctls::VmFd;
use notify_sim::raw::{IoEventFd, IrqFd, IrqLevel, Msi, Routing, RoutingEntry};

/// A number, or the negative of an errno.
pub(crate) type Outcome = i32;

fn ioctl<T>(vm: &VmFd, request: u32, argument: *mut T) -> Outcome {
    // SAFETY: every caller passes the struct that its request takes, which outlives the call.
    let result = unsafe { libc::ioctl(vm.as_raw_fd(), request as libc::Ioctl, argument) };
    if result < 0 {
        -std::io::Error::last_os_error().raw_os_error().unwrap()
    } else {
        result
    }
}

pub(crate) fn irqfd(vm: &VmFd, args: &IrqFd) -> Outcome {
    let mut args = kvm_irqfd {
        fd: args.fd.cast_unsigned(),
        gsi: args.gsi,
        flags: args.flags,
        resamplefd: args.resamplefd.cast_unsigned(),
        ..Default::default()
    };
    ioctl(vm, 0x4020_ae76, &raw mut args)
}

pub(crate) fn ioeventfd(vm: &VmFd, args: &IoEventFd) -> Outcome {
    let mut args = kvm_ioeventfd {
        datamatch: args.datamatch,
        addr: args.addr,
        len: args.len,
        fd: args.fd,
        flags: args.flags,
        ..Default::default()
    };
    ioctl(vm, 0x4040_ae79, &raw mut args)
}

pub(crate) fn set_gsi_routing(vm: &VmFd, args: &Routing<'_>) -> Outcome {
    let mut words = vec![args.nr, args.flags];
    for RoutingEntry {
        gsi,
        kind,
        flags,
        u,
    } in args.entries
    {
        words.extend([*gsi, *kind, *flags, 0]);
        words.extend(u);
    }
    assert_eq!(size_of::<kvm_irq_routing_entry>(), 48);
    ioctl(vm, 0x4008_ae6a, words.as_mut_ptr())
}

pub(crate) fn signal_msi(vm: &VmFd, args: &Msi) -> Outcome {
    let mut args = kvm_msi {
        address_lo: args.address_lo,
        address_hi: args.address_hi,
        data: args.data,
        flags: args.flags,
        devid: args.devid,
        ..Default::default()
    };
    ioctl(vm, 0x4020_aea5, &raw mut args)
}

fn level(args: &IrqLevel) -> kvm_irq_level {
    let mut line = kvm_irq_level {
        level: args.level,
        ..Default::default()
    };
    line.__bindgen_anon_1.irq = args.irq;
    line
}

pub(crate) fn irq_line(vm: &VmFd, args: &IrqLevel) -> Outcome {
    let mut line = level(args);
    ioctl(vm, 0x4008_ae61, &raw mut line)
}

/// Result and status.
pub(crate) fn irq_line_status(vm: &VmFd, args: &IrqLevel) -> (Outcome, i32) {
    let mut line = level(args);
    let outcome = ioctl(vm, 0xc008_ae67, &raw mut line);
    // SAFETY: both fields of the union are plain 32-bit integers.
    (outcome, unsafe { line.__bindgen_anon_1.status })
}

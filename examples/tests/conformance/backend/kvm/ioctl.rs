// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ioctls of a VM, malformed ones too, for which there are no safe wrappers.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use tiny_guest::kvm_bindings::{
    KVMIO, kvm_interrupt, kvm_ioeventfd, kvm_irq_level, kvm_irq_routing, kvm_irqfd, kvm_msi,
};
use tiny_guest::kvm_ioctls::{VcpuFd, VmFd};

use crate::backend::Reply;
use crate::request::{IoEventFd, IrqFd, IrqLevel, Msi, Routing};

mod raw {
    use super::*;

    nix::ioctl_write_ptr!(irq_line, KVMIO, 0x61, kvm_irq_level);
    nix::ioctl_readwrite!(irq_line_status, KVMIO, 0x67, kvm_irq_level);
    nix::ioctl_write_ptr!(set_gsi_routing, KVMIO, 0x6a, kvm_irq_routing);
    nix::ioctl_write_ptr!(irqfd, KVMIO, 0x76, kvm_irqfd);
    nix::ioctl_write_ptr!(ioeventfd, KVMIO, 0x79, kvm_ioeventfd);
    nix::ioctl_write_ptr!(interrupt, KVMIO, 0x86, kvm_interrupt);
    nix::ioctl_write_ptr!(signal_msi, KVMIO, 0xa5, kvm_msi);
}

pub(super) fn ioeventfd(vm: &VmFd, request: &IoEventFd) -> Reply {
    ioeventfd_with(
        vm,
        &kvm_ioeventfd {
            datamatch: request.datamatch,
            addr: request.addr,
            len: request.len,
            fd: request.fd,
            flags: request.flags,
            ..Default::default()
        },
    )
}

/// With all fields of the struct.
pub(crate) fn ioeventfd_with(vm: &VmFd, request: &kvm_ioeventfd) -> Reply {
    // SAFETY: KVM_IOEVENTFD reads one `kvm_ioeventfd`, which is borrowed for the call.
    unsafe { raw::ioeventfd(vm.as_raw_fd(), request) }
}

/// KVM_IOEVENTFD of a null pointer.
pub(crate) fn ioeventfd_of_nothing(vm: &VmFd) -> Reply {
    // SAFETY: the kernel checks the pointer, and finds no memory of this process there.
    unsafe { raw::ioeventfd(vm.as_raw_fd(), std::ptr::null()) }
}

pub(crate) fn irqfd(vm: &VmFd, request: &IrqFd) -> Reply {
    let request = kvm_irqfd {
        fd: request.fd.cast_unsigned(),
        gsi: request.gsi,
        flags: request.flags,
        resamplefd: request.resamplefd.cast_unsigned(),
        ..Default::default()
    };
    // SAFETY: KVM_IRQFD reads one `kvm_irqfd`, which outlives the call.
    unsafe { raw::irqfd(vm.as_raw_fd(), &request) }
}

pub(super) fn signal_msi(vm: &VmFd, request: &Msi) -> Reply {
    let request = kvm_msi {
        address_lo: request.address_lo,
        address_hi: request.address_hi,
        data: request.data,
        flags: request.flags,
        devid: request.devid,
        ..Default::default()
    };
    // SAFETY: KVM_SIGNAL_MSI reads one `kvm_msi`, which outlives the call.
    unsafe { raw::signal_msi(vm.as_raw_fd(), &request) }
}

fn level(request: &IrqLevel) -> kvm_irq_level {
    let mut line = kvm_irq_level {
        level: request.level,
        ..Default::default()
    };
    line.__bindgen_anon_1.irq = request.irq;
    line
}

pub(super) fn irq_line(vm: &VmFd, request: &IrqLevel) -> Reply {
    // SAFETY: KVM_IRQ_LINE reads one `kvm_irq_level`, which outlives the call.
    unsafe { raw::irq_line(vm.as_raw_fd(), &level(request)) }
}

pub(super) fn irq_line_status(vm: &VmFd, request: &IrqLevel) -> Reply {
    let mut line = level(request);
    // SAFETY: KVM_IRQ_LINE_STATUS reads and writes one `kvm_irq_level`, borrowed for the call.
    unsafe { raw::irq_line_status(vm.as_raw_fd(), &raw mut line) }?;
    // SAFETY: both fields of the union are plain 32-bit integers, for which every value is valid.
    Ok(unsafe { line.__bindgen_anon_1.status })
}

pub(super) fn set_gsi_routing(vm: &VmFd, request: &Routing<'_>) -> Reply {
    let mut words = vec![request.nr, request.flags];
    for entry in request.entries {
        words.extend([entry.gsi, entry.kind, entry.flags, 0]);
        words.extend(entry.u);
    }
    let table = BeforeNothing::new(&words);
    // SAFETY: KVM_SET_GSI_ROUTING reads a header and `nr` entries behind it. Header and entries are
    // there, laid out as the kernel's structs are (all 32-bit integers, 48 bytes an entry) and
    // aligned to 4 as they require; behind them nothing is mapped, and the kernel returns EFAULT.
    unsafe { raw::set_gsi_routing(vm.as_raw_fd(), table.start.cast().as_ptr()) }
}

/// KVM_INTERRUPT of a vCPU.
pub(super) fn interrupt(vcpu: &VcpuFd, irq: u32) -> Reply {
    // SAFETY: KVM_INTERRUPT reads one `kvm_interrupt`, which outlives the call.
    unsafe { raw::interrupt(vcpu.as_raw_fd(), &kvm_interrupt { irq }) }
}

/// Duplicates the file descriptor of a VM.
pub(crate) fn duplicate(vm: &VmFd) -> OwnedFd {
    // SAFETY: the VM's file descriptor is open for as long as `vm` is borrowed, which is for the
    // whole call.
    let fd = unsafe { BorrowedFd::borrow_raw(vm.as_raw_fd()) };
    fd.try_clone_to_owned().unwrap()
}

/// Words at the very end of readable memory.
struct BeforeNothing {
    start: NonNull<u32>,
    map: NonNull<std::ffi::c_void>,
    size: usize,
}

impl BeforeNothing {
    const PAGE: usize = 0x1000;

    fn new(words: &[u32]) -> Self {
        let bytes = size_of_val(words);
        let readable = bytes.next_multiple_of(Self::PAGE);
        let size = readable + Self::PAGE;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new private anonymous mapping at an address of the kernel's choice overlays
        // nothing.
        let map = unsafe {
            mmap_anonymous(
                None,
                size.try_into().unwrap(),
                access,
                MapFlags::MAP_PRIVATE,
            )
        }
        .unwrap();
        // SAFETY: `bytes` is at most `readable`, and the mapping is longer than that.
        let start = unsafe { map.byte_add(readable - bytes) }.cast::<u32>();
        // SAFETY: from `start` on there are `bytes` writable bytes, to which no other reference
        // exists, and `start` is aligned for words, as both the page's end and `bytes` are
        // multiples of 4.
        unsafe { start.copy_from_nonoverlapping(NonNull::from(words).cast(), words.len()) };
        // SAFETY: it is the mapping's last page, in which nothing was stored.
        unsafe { mprotect(map.byte_add(readable), Self::PAGE, ProtFlags::PROT_NONE) }.unwrap();
        Self { start, map, size }
    }
}

impl Drop for BeforeNothing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this size, and no reference to it is left.
        unsafe { munmap(self.map, self.size) }.unwrap();
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `KvmVm` on `/dev/kvm`: tests that need a real VM.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[cfg(target_arch = "x86_64")]
#[path = "kvm/irqchip.rs"]
mod irqchip;
#[cfg(target_arch = "x86_64")]
#[path = "kvm/x86_64.rs"]
mod x86_64;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::thread;

use kvm_ioctls::{Kvm, VmFd};
use kvm_test::{kvm, open_fds, refuse};
use notify_core::{
    Bus, Error, EventNotifier, Extension, IoEventFdRequest, IrqFdRequest, KvmVm, Vm,
};

fn main() -> ExitCode {
    let mut trials = vec![
        kvm("from_fd_takes_machines_only", from_fd_takes_machines_only),
        kvm(
            "from_fd_keeps_the_machine_open",
            from_fd_keeps_the_machine_open,
        ),
        kvm("a_vm_of_any_type_is_taken", a_vm_of_any_type_is_taken),
        kvm(
            "capabilities_are_asked_when_it_is_made",
            capabilities_are_asked_when_it_is_made,
        ),
        kvm(
            "ioeventfd_binds_by_its_whole_key",
            ioeventfd_binds_by_its_whole_key,
        ),
        kvm("a_forked_child_gets_eio", a_forked_child_gets_eio),
        kvm(
            "adopt_refuses_the_files_of_kvm",
            adopt_refuses_the_files_of_kvm,
        ),
    ];
    #[cfg(target_arch = "x86_64")]
    trials.extend(irqchip::trials().into_iter().chain(x86_64::trials()));
    #[cfg(not(target_arch = "x86_64"))]
    trials.push(kvm_test::x86_only("what needs an interrupt controller"));
    kvm_test::main(trials)
}

/// A VM without an interrupt controller, which exists on every architecture.
fn machine() -> (VmFd, KvmVm) {
    let vm_fd = Kvm::new().unwrap().create_vm().unwrap();
    let vm = KvmVm::try_from(&vm_fd).unwrap();
    (vm_fd, vm)
}

#[track_caller]
fn expect_errno<T: std::fmt::Debug>(result: io::Result<T>, errno: i32) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
}

fn from_fd_takes_machines_only() {
    let before = open_fds().unwrap();
    let kvm = Kvm::new().unwrap();
    let vm_fd = kvm.create_vm().unwrap();
    let vcpu = vm_fd.create_vcpu(0).unwrap();
    let eventfd = EventNotifier::new().unwrap();
    for number in [kvm.as_raw_fd(), vcpu.as_raw_fd(), eventfd.as_raw_fd(), 0] {
        let rejected = KvmVm::from_fd(duplicate(number)).unwrap_err();
        let owned = rejected.value.as_raw_fd();
        assert!(matches!(rejected.error, Error::NotVm { fd, .. } if fd == owned));
    }
    KvmVm::from_fd(duplicate(vm_fd.as_raw_fd())).unwrap();
    drop((kvm, vcpu, vm_fd, eventfd));
    assert_eq!(open_fds().unwrap(), before);
}

fn from_fd_keeps_the_machine_open() {
    let (vm_fd, vm) = machine();
    drop(vm_fd);
    assert!(vm.check_extension(Extension::IoEventFd).unwrap() > 0);
}

/// By number, for types that have nothing else, and by `AsFd`: each time with one duplicate.
fn a_vm_of_any_type_is_taken() {
    let vm_fd = Kvm::new().unwrap().create_vm().unwrap();
    let before = open_fds().unwrap();
    let by_number = KvmVm::duplicate(&vm_fd).unwrap();
    let by_fd = KvmVm::duplicate(&by_number).unwrap();
    assert_eq!(open_fds().unwrap(), before + 2);
    drop((vm_fd, by_number));
    by_fd.check_extension(Extension::MsiDevid).unwrap();
    let closed = KvmVm::duplicate(&i32::MAX).unwrap_err();
    assert!(matches!(closed, Error::Duplicate { fd: i32::MAX, .. }));
    let other = KvmVm::duplicate(&EventNotifier::new().unwrap()).unwrap_err();
    assert!(matches!(other, Error::NotVm { .. }));
}

/// On a thread that may make no ioctl.
fn capabilities_are_asked_when_it_is_made() {
    let (_vm_fd, vm) = machine();
    let asked = thread::scope(|scope| {
        let jailed = scope.spawn(|| {
            refuse(libc::SYS_ioctl, None, libc::EPERM).unwrap();
            let ask = |capability| vm.check_extension(capability).map_err(|error| error.kind());
            (CONSTANT.map(ask), ask(Extension::MsiDevid))
        });
        jailed.join().unwrap()
    });
    assert_eq!(asked.1, Err(io::ErrorKind::PermissionDenied));
    for (capability, asked) in CONSTANT.into_iter().zip(asked.0) {
        let number = capability.number().into();
        let value = check_extension(&vm, number);
        assert_eq!(asked.unwrap(), value, "{capability:?}");
    }
}

const CONSTANT: [Extension; 10] = [
    Extension::IrqChip,
    Extension::IrqRouting,
    Extension::IrqInjectStatus,
    Extension::IrqFd,
    Extension::IrqFdResample,
    Extension::IoEventFd,
    Extension::IoEventFdAnyLength,
    Extension::IoEventFdNoLength,
    Extension::SignalMsi,
    Extension::SplitIrqChip,
];

/// KVM's current result for a capability.
#[allow(unsafe_code, reason = "kvm-ioctls asks for those only that it knows")]
fn check_extension(vm: &KvmVm, number: libc::c_ulong) -> u32 {
    const KVM_CHECK_EXTENSION: u32 = 0xae03;
    // SAFETY: the request takes an integer, and touches no memory of ours.
    let value = unsafe { libc::ioctl(vm.as_fd().as_raw_fd(), KVM_CHECK_EXTENSION as _, number) };
    u32::try_from(value).unwrap()
}

fn ioeventfd_binds_by_its_whole_key() {
    let (_vm_fd, vm) = machine();
    let eventfd = EventNotifier::new().unwrap();
    let at = |bus, len, value| {
        IoEventFdRequest::assign(eventfd.as_fd(), bus, 0x1000, len).datamatch(value)
    };
    let keys = [
        at(Bus::Mmio, 4, None),
        at(Bus::Mmio, 2, Some(1)),
        at(Bus::Mmio, 2, Some(2)),
        at(Bus::Pio, 0, None),
    ];
    for key in &keys {
        vm.ioeventfd(key).unwrap();
        expect_errno(vm.ioeventfd(key), libc::EEXIST);
    }
    expect_errno(
        vm.ioeventfd(&at(Bus::Mmio, 2, Some(3)).deassign()),
        libc::ENOENT,
    );
    for key in keys {
        vm.ioeventfd(&key.deassign()).unwrap();
        expect_errno(vm.ioeventfd(&key.deassign()), libc::ENOENT);
    }
}

/// KVM serves only the address space that created the VM.
#[allow(
    unsafe_code,
    reason = "fork(2) is unsafe in a process that may have threads"
)]
fn a_forked_child_gets_eio() {
    use nix::sys::wait::{WaitStatus, waitpid};
    let (_vm_fd, vm) = machine();
    let eventfd = EventNotifier::new().unwrap();
    // SAFETY: the child makes system calls, compares integers and ends with _exit; it takes no lock
    // that another thread may have held.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let errno =
                |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error());
            let irqfd = errno(vm.irqfd(&IrqFdRequest::assign(eventfd.as_fd(), 5)));
            let request = IoEventFdRequest::assign(eventfd.as_fd(), Bus::Mmio, 0x1000, 4);
            let all_refused = [
                irqfd,
                errno(vm.ioeventfd(&request)),
                errno(adopt_again(&vm)),
                errno(vm.platform().map(drop)),
            ]
            .iter()
            .all(|errno| *errno == Some(libc::EIO));
            // SAFETY: _exit ends the child without running anything that the parent owns.
            unsafe { libc::_exit(i32::from(!all_refused)) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
    let request = IoEventFdRequest::assign(eventfd.as_fd(), Bus::Mmio, 0x1000, 4);
    vm.ioeventfd(&request).unwrap();
}

fn adopt_refuses_the_files_of_kvm() {
    let kvm = Kvm::new().unwrap();
    let vm_fd = kvm.create_vm().unwrap();
    let vcpu = vm_fd.create_vcpu(0).unwrap();
    for number in [kvm.as_raw_fd(), vm_fd.as_raw_fd(), vcpu.as_raw_fd()] {
        let rejected = EventNotifier::adopt(duplicate(number)).unwrap_err();
        assert!(matches!(rejected.error, Error::NotEventFd { .. }));
    }
}

/// Offers a VM once more to [`KvmVm::from_fd`].
fn adopt_again(vm: &KvmVm) -> io::Result<()> {
    match KvmVm::from_fd(vm.as_fd().try_clone_to_owned()?).map_err(|rejected| rejected.error) {
        Err(Error::NotVm { cause, .. }) => Err(cause.into()),
        _ => Ok(()),
    }
}

#[allow(unsafe_code, reason = "the types of kvm-ioctls lend their number only")]
fn duplicate(number: i32) -> OwnedFd {
    // SAFETY: every caller owns the open file behind `number` while it calls.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(number) }
        .try_clone_to_owned()
        .unwrap()
}

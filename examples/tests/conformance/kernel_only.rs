// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Behaviour that no VM in user space can have, each with the reason. These cases run on KVM alone.

use std::os::fd::AsFd;

use kvm_test::{Trial, kvm, wait_until};
use nix::errno::Errno::{self, EBUSY, EEXIST, EFAULT, EINVAL, EIO};
use nix::libc;
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use tiny_guest::kvm_bindings::{KVM_CAP_SPLIT_IRQCHIP, kvm_enable_cap, kvm_ioeventfd};
use tiny_guest::kvm_ioctls::{self, VmFd};

use crate::backend::kvm::{Read, ioctl};
use crate::backend::{Backend, Bus, Irqchip, Kvm, Reply, Spec};
use crate::case::Host;
use crate::event::{Event, FULL};
use crate::expect::{expect_count, expect_errno, expect_ok};
use crate::request::{
    MMIO, PORT, Routing, doorbell, irqfd, msi_route, resampling, unbind, wildcard,
};

/// Name, reason, case.
type Row = (&'static str, &'static str, fn());

const ROWS: [Row; 13] = [
    (
        "a_null_pointer",
        "a request to SimVm is no pointer",
        null_pointer,
    ),
    (
        "padding_is_not_looked_at",
        "a request to SimVm has no padding",
        padding,
    ),
    ("reads_ring_no_doorbell", "SimVm's guests only write", reads),
    (
        "a_doorbell_counts_one_further_than_writes_can",
        "only the kernel can bring a counter to 2^64 - 1 and set POLLERR",
        overflow,
    ),
    (
        "who_polls_a_bound_eventfd_is_not_woken",
        "SimVm polls it too, and is woken like everybody else",
        not_woken,
    ),
    (
        "binding_hides_signals_from_who_polled_before",
        "the same",
        not_woken_from_before,
    ),
    (
        "writing_0_injects",
        "a write of 0 leaves nothing that user space could see",
        write_of_0,
    ),
    (
        "signals_while_nobody_looks_are_apart",
        "SimVm acts when it is called next, when two signals have become one",
        immediate,
    ),
    (
        "closing_the_last_file_descriptor_lowers_the_line",
        "SimVm holds a duplicate, so that its own is never closed",
        closing,
    ),
    (
        "the_end_of_the_machine_outlives_its_vcpus",
        "SimVm's vCPUs end with it",
        vm_before_vcpu,
    ),
    (
        "a_duplicate_of_the_machine_keeps_eventfds_bound",
        "SimVm is no file",
        duplicate_of_the_machine,
    ),
    (
        "another_process_is_refused",
        "SimVm is of one process",
        another_process,
    ),
    (
        "irqchips_come_once_and_before_vcpus",
        "SimVm is made in one step",
        creation,
    ),
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |(name, _, run): &Row| kvm(&format!("kvm::kernel_only::{name}"), *run);
    ROWS.iter().map(trial).collect()
}

fn machine() -> Kvm {
    let vm = Kvm::new(Spec {
        irqchip: Irqchip::Full,
        vcpus: 1,
    });
    vm.enable_lapic();
    vm
}

/// A VM with an eventfd bound to an MSI of the vector 0x41.
fn bound(event: &Event) -> Kvm {
    let vm = machine();
    expect_ok(vm.set_gsi_routing(&Routing::of(&[msi_route(100, 0x41)])));
    expect_ok(vm.irqfd(&irqfd(event, 100)));
    vm
}

#[track_caller]
fn expect_vectors(vm: &Kvm, vectors: &[u8]) {
    let vm: &dyn Backend = vm;
    vm.settle();
    vm.expect_msi(vectors);
}

fn null_pointer() {
    expect_errno(ioctl::ioeventfd_of_nothing(machine().fd()), EFAULT);
}

fn padding() {
    let (vm, event) = (machine(), Event::new());
    let request = kvm_ioeventfd {
        addr: MMIO,
        len: 4,
        fd: event.fd(),
        pad: [0xff; 36],
        ..Default::default()
    };
    expect_ok(ioctl::ioeventfd_with(vm.fd(), &request));
}

fn reads() {
    let (vm, event) = (machine(), Event::new());
    expect_ok(vm.ioeventfd(&doorbell(&event)));
    expect_ok(vm.ioeventfd(&wildcard(&event, Bus::Pio, PORT, 2)));
    assert!(vm.guest_read(Read::Mmio4, MMIO), "an exit");
    assert!(vm.guest_read(Read::Pio2, PORT), "an exit");
    expect_count(&event, 0);
}

fn overflow() {
    let (vm, event) = (machine(), Event::at(FULL));
    expect_ok(vm.ioeventfd(&doorbell(&event)));
    assert_eq!(event.poll(), PollFlags::POLLIN);
    for _ in 0..2 {
        assert_eq!(vm.guest_write(Bus::Mmio, MMIO, &[1, 0, 0, 0]), []);
        assert_eq!(event.poll(), PollFlags::POLLIN | PollFlags::POLLERR);
    }
    assert_eq!(event.read(), Ok(u64::MAX));
}

/// How many of the polled descriptors are ready.
fn ready(epoll: &Epoll) -> usize {
    let mut events = [EpollEvent::empty(); 4];
    epoll.wait(&mut events, EpollTimeout::ZERO).unwrap()
}

fn watch(event: &Event) -> Epoll {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let readable = EpollEvent::new(EpollFlags::EPOLLIN, 0);
    epoll.add(event.as_fd(), readable).unwrap();
    epoll
}

fn not_woken() {
    let event = Event::new();
    let vm = bound(&event);
    let epoll = watch(&event);
    assert_eq!(event.write(1), Ok(8));
    assert_eq!(ready(&epoll), 0);
    expect_ok(vm.irqfd(&unbind(&event, 100)));
    assert_eq!(event.write(1), Ok(8));
    assert_eq!(ready(&epoll), 1);
}

fn not_woken_from_before() {
    let event = Event::new();
    let epoll = watch(&event);
    let vm = bound(&event);
    assert_eq!(event.write(1), Ok(8));
    assert_eq!(ready(&epoll), 0);
    expect_count(&event, 0);
    expect_vectors(&vm, &[0x41]);
}

fn write_of_0() {
    let event = Event::new();
    let vm = bound(&event);
    assert_eq!(event.write(0), Ok(8));
    expect_vectors(&vm, &[0x41]);
}

fn immediate() {
    let event = Event::new();
    let vm = bound(&event);
    assert_eq!(event.write(FULL), Ok(8));
    // Another eventfd would not have had room.
    assert_eq!(event.write(FULL), Ok(8));
    expect_vectors(&vm, &[0x41]);
}

fn closing() {
    let (vm, trigger, resample) = (machine(), Event::new(), Event::new());
    expect_ok(vm.irqfd(&resampling(&trigger, 5, &resample)));
    assert_eq!(trigger.write(1), Ok(8));
    vm.settle();
    assert_eq!(vm.ioapic_irr(), 1 << 5);
    let dup = trigger.dup();
    drop(trigger);
    vm.settle();
    assert_eq!(vm.ioapic_irr(), 1 << 5);
    drop(dup);
    // Another worker thread does that later.
    wait_until(|| vm.ioapic_irr() == 0);
}

fn plain_vm() -> VmFd {
    kvm_ioctls::Kvm::new().unwrap().create_vm().unwrap()
}

fn vm_before_vcpu() {
    let (vm, event) = (plain_vm(), Event::new());
    vm.create_irq_chip().unwrap();
    let vcpu = vm.create_vcpu(0).unwrap();
    expect_ok(ioctl::irqfd(&vm, &irqfd(&event, 5)));
    assert_eq!(event.write(1), Ok(8));
    expect_count(&event, 0);
    drop(vm);
    assert_eq!(event.write(1), Ok(8));
    expect_count(&event, 1);
    drop(vcpu);
}

fn duplicate_of_the_machine() {
    let (one, other, event) = (plain_vm(), machine(), Event::new());
    one.create_irq_chip().unwrap();
    expect_ok(ioctl::irqfd(&one, &irqfd(&event, 5)));
    let dup = ioctl::duplicate(&one);
    drop(one);
    if Host::kvm().is_linux_since(6, 17) {
        expect_errno(other.irqfd(&irqfd(&event, 5)), EBUSY);
    }
    drop(dup);
    expect_ok(other.irqfd(&irqfd(&event, 5)));
}

#[allow(unsafe_code)]
fn another_process() {
    let (vm, event) = (machine(), Event::new());
    let requests: [fn(&Kvm, &Event) -> Reply; 2] = [
        |vm, event| vm.ioeventfd(&doorbell(event)),
        |vm, event| vm.irqfd(&irqfd(event, 5)),
    ];
    for request in requests {
        // SAFETY: the child makes one system call on plain integers and ends by another, so that it
        // takes no lock that a thread of the parent could have held.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = request(&vm, &event).err().map_or(0, |errno| errno as i32);
                // SAFETY: `_exit` ends the process at once and runs nothing of the parent's.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                let ended = waitpid(child, None).unwrap();
                assert_eq!(ended, WaitStatus::Exited(child, EIO as i32));
            }
        }
    }
}

fn split(vm: &VmFd, pins: u64) -> Result<(), Errno> {
    let capability = kvm_enable_cap {
        cap: KVM_CAP_SPLIT_IRQCHIP,
        args: [pins, 0, 0, 0],
        ..Default::default()
    };
    let enabled = vm.enable_cap(&capability);
    enabled.map_err(|error| Errno::from_raw(error.errno()))
}

fn full(vm: &VmFd) -> Result<(), Errno> {
    let created = vm.create_irq_chip();
    created.map_err(|error| Errno::from_raw(error.errno()))
}

fn creation() {
    let vm = plain_vm();
    assert_eq!(full(&vm), Ok(()));
    assert_eq!(full(&vm), Err(EEXIST));
    assert_eq!(split(&vm, 24), Err(EEXIST));

    let vm = plain_vm();
    let _vcpu = vm.create_vcpu(0).unwrap();
    assert_eq!(full(&vm), Err(EINVAL));
    assert_eq!(split(&vm, 24), Err(EEXIST));

    let vm = plain_vm();
    assert_eq!(split(&vm, 4097), Err(EINVAL));
    assert_eq!(split(&vm, 4096), Ok(()));
    assert_eq!(full(&vm), Err(EEXIST));
}

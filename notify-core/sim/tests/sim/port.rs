// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counting, failing, and delivering in the background.

use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use notify_core::{
    Bus, IoEventFdRequest, IrqFdRequest, MsiMessage, Platform, RouteBuffer, RouteEntry,
    RouteTarget, Vm,
};
use notify_sim::{CallKind, DeliveryThread, Interrupt, Profile, SimVm};

use crate::common::*;

#[test]
fn the_typed_port_lowers_to_the_ioctls() {
    let vm: Arc<dyn Vm> = Arc::new(pc());
    let (one, resample) = (eventfd(), eventfd());
    vm.irqfd(&IrqFdRequest::assign_resample(
        one.as_fd(),
        5,
        resample.as_fd(),
    ))
    .unwrap();
    expect_errno(vm.irqfd(&IrqFdRequest::assign(one.as_fd(), 6)), libc::EBUSY);
    vm.irqfd(&IrqFdRequest::deassign(one.as_fd(), 5)).unwrap();
    let request = IoEventFdRequest::assign(one.as_fd(), Bus::Pio, 0x510, 2).datamatch(Some(3));
    vm.ioeventfd(&request).unwrap();
    expect_errno(vm.ioeventfd(&request), libc::EEXIST);
    vm.ioeventfd(&request.deassign()).unwrap();
    expect_errno(vm.ioeventfd(&request.deassign()), libc::ENOENT);
    for (profile, platform) in [
        (Profile::X86, Some(Platform::X86)),
        (Profile::X86Split { pins: 24 }, Some(Platform::X86Split)),
        (Profile::None, None),
    ] {
        assert_eq!(machine(profile).platform().unwrap(), platform);
    }
}

#[test]
fn a_route_buffer_arrives_as_it_was_built() {
    let vm = pc();
    let message = RouteTarget::Msi(MsiMessage {
        address: 0x1_fee0_0000,
        data: 0x4041,
        devid: Some(9),
    });
    let pin = RouteTarget::Pin { chip: 2, pin: 4 };
    let table = [RouteEntry::new(24, message), RouteEntry::new(25, pin)];
    vm.set_gsi_routing(&table.into_iter().collect()).unwrap();
    let (one, two) = (eventfd(), eventfd());
    for (one, gsi) in [(&one, 24), (&two, 25)] {
        vm.irqfd(&IrqFdRequest::assign(one.as_fd(), gsi)).unwrap();
        one.notify().unwrap();
    }
    let injected = vm.deliver();
    let expected = Interrupt::Msi(MsiMessage::new(0x1_fee0_0000, 0x4041).with_devid(9));
    assert_eq!(injected[0].interrupt, expected);
    let levels = [true, false].map(|level| Interrupt::Pin {
        chip: 2,
        pin: 4,
        level,
    });
    assert_eq!([injected[1].interrupt, injected[2].interrupt], levels);
}

#[test]
fn calls_are_counted_by_kind() {
    let vm = pc();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    vm.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)).unwrap();
    expect_errno(vm.kvm_ioeventfd(&doorbell(&one, 0, 3)), libc::EINVAL);
    vm.set_gsi_routing(&RouteBuffer::new()).unwrap();
    vm.check_extension(notify_core::Extension::IrqFd).unwrap();
    for (kind, count) in [
        (CallKind::IrqFdAssign, 1),
        (CallKind::IrqFdDeassign, 1),
        (CallKind::IoEventFdAssign, 1),
        (CallKind::IoEventFdDeassign, 0),
        (CallKind::SetGsiRouting, 1),
        (CallKind::CheckExtension, 1),
    ] {
        assert_eq!(vm.calls(kind), count, "{kind:?}");
    }
    assert_eq!(vm.total_calls(), 4);
    vm.reset_calls();
    assert_eq!(vm.total_calls(), 0);
}

#[test]
fn an_ordered_fault_comes_once_and_has_no_effect() {
    let vm = pc();
    let one = eventfd();
    vm.fail(CallKind::IrqFdAssign, 2, libc::ENOMEM);
    vm.fail(CallKind::IrqFdDeassign, 1, libc::EIO);
    vm.kvm_irqfd(&irqfd(&one, 5, 0)).unwrap();
    expect_errno(vm.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)), libc::EIO);
    expect_errno(vm.kvm_irqfd(&irqfd(&one, 5, 0)), libc::ENOMEM);
    expect_errno(vm.kvm_irqfd(&irqfd(&one, 5, 0)), libc::EBUSY);
    vm.fail(CallKind::IrqFdDeassign, 1, libc::EIO);
    vm.clear_faults();
    vm.kvm_irqfd(&irqfd(&one, 5, DEASSIGN)).unwrap();
}

#[test]
fn a_thread_delivers_while_the_program_does_something_else() {
    let vm = Arc::new(pc());
    route(&vm, &[msi(24, 0x41), pin(25, PIC, 3)]).unwrap();
    let (sender, injected) = mpsc::channel();
    let thread = DeliveryThread::start(Arc::clone(&vm), move |vm: &SimVm, one| {
        // A reaction may call the VM.
        let pending = vm.pending_vectors(0);
        sender.send((one.gsi, pending)).unwrap();
    })
    .unwrap();
    let one = eventfd();
    vm.kvm_irqfd(&irqfd(&one, 24, 0)).unwrap();
    let next = || injected.recv_timeout(Duration::from_secs(10)).unwrap();
    for _ in 0..100 {
        one.notify().unwrap();
        assert_eq!(next(), (Some(24), vec![0x41]));
    }
    vm.irq_line_status(25, true).unwrap();
    assert_eq!(next().0, Some(25), "what another thread injects too");
    drop(thread);
    one.notify().unwrap();
    assert!(injected.recv().is_err(), "the thread is gone");
    assert_eq!(vm.deliver().len(), 1);
}

#[test]
fn a_thread_may_be_stopped_by_its_own_reaction() {
    let vm = Arc::new(pc());
    let (sender, thread) = mpsc::channel::<DeliveryThread>();
    let (done, stopped) = mpsc::channel();
    let started = DeliveryThread::start(Arc::clone(&vm), move |_, _| {
        drop(thread.recv());
        let _ = done.send(());
    })
    .unwrap();
    sender.send(started).unwrap();
    vm.irq_line_status(5, true).unwrap();
    stopped.recv_timeout(Duration::from_secs(10)).unwrap();
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The INTx interrupt of a device in another process, which has only the two eventfds, as VFIO in
//! the kernel has.
#![allow(unsafe_code, reason = "the other process is a fork of this one")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use irq_routing::MsiMessage;
use irqfd::vfio::{IntxDevice, PassthroughIntx};
use irqfd::{EoiExits, LevelLine};
use kvm_test::{PATIENCE, Trial, kvm};
use notify_core::EventNotifier;

use crate::guest::{GSI, Guest, Listens, VECTOR};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        kvm("passthrough_pic_in_lock_step", || {
            in_lock_step(Listens::Pics)
        }),
        kvm("passthrough_ioapic_in_lock_step", || {
            in_lock_step(Listens::IoApic)
        }),
        kvm("passthrough_split_in_lock_step", || {
            in_lock_step(Listens::Messages)
        }),
    ]
}

const ROUNDS: u32 = 2000;

/// A device that starts when it is unmasked, and then interrupts each time that it was unmasked
/// again.
#[derive(Debug, Default)]
struct Device {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trigger: Option<OwnedFd>,
    unmask: Option<OwnedFd>,
    process: Option<libc::pid_t>,
}

fn duplicate(notifier: Option<&EventNotifier>) -> Option<OwnedFd> {
    notifier.map(|notifier| notifier.as_fd().try_clone_to_owned().unwrap())
}

impl IntxDevice for Device {
    fn mask(&self) -> io::Result<()> {
        Ok(())
    }

    fn unmask(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let (trigger, unmask) = (
            state.trigger.as_ref().unwrap(),
            state.unmask.as_ref().unwrap(),
        );
        let (trigger, unmask) = (trigger.as_raw_fd(), unmask.as_raw_fd());
        // SAFETY: the child makes system calls with numbers that it has by value, and ends without
        // running any code of this process.
        let process = unsafe { libc::fork() };
        assert!(process >= 0);
        if process == 0 {
            // SAFETY: as above.
            unsafe { libc::_exit(live(trigger, unmask)) };
        }
        state.process = Some(process);
        Ok(())
    }

    fn set_trigger(&self, trigger: Option<&EventNotifier>) -> io::Result<()> {
        self.state.lock().unwrap().trigger = duplicate(trigger);
        Ok(())
    }

    fn set_unmask(&self, unmask: Option<&EventNotifier>) -> io::Result<()> {
        self.state.lock().unwrap().unmask = duplicate(unmask);
        Ok(())
    }
}

/// The other process. Returns 0 if exactly one unmask signal came for each trigger.
fn live(trigger: i32, unmask: i32) -> i32 {
    for _ in 0..ROUNDS {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes that live for the call, and so for the others below.
        if unsafe { libc::write(trigger, one.as_ptr().cast(), 8) } != 8 {
            return 1;
        }
        let mut polled = libc::pollfd {
            fd: unmask,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one structure that lives for the call.
        if unsafe { libc::poll(&raw mut polled, 1, 20_000) } != 1 {
            return 2;
        }
        let mut count = [0; 8];
        // SAFETY: as above.
        if unsafe { libc::read(unmask, count.as_mut_ptr().cast(), 8) } != 8 {
            return 3;
        }
        if u64::from_ne_bytes(count) != 1 {
            return 4;
        }
    }
    0
}

impl Device {
    /// The other process's exit code, once it has ended.
    fn verdict(&self) -> Option<i32> {
        let process = self.state.lock().unwrap().process?;
        let mut status = 0;
        // SAFETY: the status lives for the call, and the process is a child that was not waited
        // for.
        let ended = unsafe { libc::waitpid(process, &raw mut status, libc::WNOHANG) };
        assert!(ended >= 0);
        (ended == process).then(|| libc::WEXITSTATUS(status))
    }
}

fn in_lock_step(listens: Listens) {
    let mut guest = Guest::new(listens);
    let exits = EoiExits::default();
    let line = match listens {
        Listens::Messages => {
            let lease = guest.table.lease_exact(GSI).unwrap();
            lease.set_route(MsiMessage::default()).unwrap();
            let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
            let line = builder.build().unwrap();
            let message = MsiMessage::new(0xfee0_0000, 1 << 15 | u32::from(VECTOR));
            line.redirect(message, false).unwrap();
            line
        }
        _ => LevelLine::builder(guest.table.line(GSI).unwrap())
            .build()
            .unwrap(),
    };
    // A device of the VMM's on the same line.
    let disk = line.join().unwrap();
    let device = Arc::new(Device::default());
    let intx = PassthroughIntx::enable(&line, device.clone()).unwrap();
    let mut taken = 0;
    let mut progress = Instant::now();
    let verdict = loop {
        let served = guest.poll_interrupt(|vector| {
            exits.on_vector(vector);
        });
        if served {
            (taken, progress) = (taken + 1, Instant::now());
        }
        if let Some(verdict) = device.verdict() {
            break verdict;
        }
        assert!(
            progress.elapsed() < PATIENCE,
            "stuck after {taken} interrupts"
        );
    };
    assert_eq!(verdict, 0, "after {taken} interrupts");
    if listens != Listens::IoApic {
        assert_eq!(taken, ROUNDS);
    }
    disk.assert().unwrap();
    intx.disable().unwrap();
    guest.expect_interrupt(|| disk.deassert().unwrap());
    exits.on_vector(VECTOR);
    guest.settle();
}

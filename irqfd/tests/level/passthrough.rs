// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The INTx interrupt of a passed-through device: the steps, their order, and the way back.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use irqfd::vfio::{IntxDevice, IntxError, PassthroughIntx};
use irqfd::{IrqFdError, LevelError, LevelLine};
use notify_core::EventNotifier;
use notify_sim::{CallKind, SimVm};

use super::bench::{self, GSI};
use super::told;

/// A device that records its calls, and the state of the VM at each.
#[derive(Debug, Default)]
struct Device {
    calls: Mutex<Vec<String>>,
    /// The number of the call that fails, counted from now; the next is 1.
    fails: AtomicUsize,
    state: Mutex<State>,
    vm: Option<Arc<SimVm>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct State {
    trigger: bool,
    masked: bool,
    unmask: bool,
}

impl Device {
    fn call(&self, name: &str, change: impl FnOnce(&mut State)) -> io::Result<()> {
        // The VM's requests since the last call belong before it.
        let mut calls = self.calls.lock().unwrap();
        if let Some(vm) = &self.vm {
            for (kind, name) in [
                (CallKind::IrqFdAssign, "bind"),
                (CallKind::IrqFdDeassign, "unbind"),
            ] {
                calls.extend((0..vm.calls(kind)).map(|_| name.to_owned()));
            }
            vm.reset_calls();
        }
        calls.push(name.to_owned());
        let fails = self.fails.load(Ordering::Relaxed);
        self.fails.store(fails.saturating_sub(1), Ordering::Relaxed);
        if fails == 1 {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        change(&mut self.state.lock().unwrap());
        Ok(())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap()
    }
}

impl IntxDevice for Device {
    fn mask(&self) -> io::Result<()> {
        assert!(self.state().trigger, "VFIO has nothing to mask");
        self.call("mask", |state| state.masked = true)
    }

    fn unmask(&self) -> io::Result<()> {
        assert!(self.state().trigger, "VFIO has nothing to unmask");
        self.call("unmask", |state| state.masked = false)
    }

    fn set_trigger(&self, trigger: Option<&EventNotifier>) -> io::Result<()> {
        let name = trigger.map_or("no trigger", |trigger| {
            trigger.notify().unwrap(); // the device interrupts right now
            "trigger"
        });
        self.call(name, |state| match trigger {
            Some(_) => state.trigger = true,
            None => *state = State::default(),
        })
    }

    fn set_unmask(&self, unmask: Option<&EventNotifier>) -> io::Result<()> {
        assert!(self.state().trigger);
        let name = unmask.map_or("no unmask", |_| "unmask by");
        self.call(name, |state| state.unmask = unmask.is_some())
    }
}

fn bench() -> (Arc<SimVm>, LevelLine, Arc<Device>) {
    let (vm, _, line) = bench::pc();
    vm.reset_calls();
    let device = Arc::new(Device {
        vm: Some(Arc::clone(&vm)),
        ..Device::default()
    });
    (vm, line, device)
}

const ON: [&str; 5] = ["trigger", "mask", "bind", "unmask by", "unmask"];
const OFF: [&str; 4] = ["mask", "unbind", "no unmask", "no trigger"];

#[test]
fn it_is_enabled_and_disabled_in_qemus_order() {
    for by_drop in [false, true] {
        let (vm, line, device) = bench();
        let intx = PassthroughIntx::enable(&line, device.clone()).unwrap();
        assert_eq!(device.take(), ON);
        assert!(
            !bench::pin(&vm),
            "what came before it was masked is forgotten"
        );
        let enabled = State {
            trigger: true,
            masked: false,
            unmask: true,
        };
        assert_eq!(device.state(), enabled);
        // The device interrupts; the guest sends the EOI; VFIO unmasks.
        let irq = intx.irq().unwrap();
        super::signal(irq);
        assert!(bench::pin(&vm));
        vm.guest_eoi(2, GSI);
        assert_eq!(super::heard(irq), 1);
        match by_drop {
            true => drop(intx),
            false => intx.disable().unwrap(),
        }
        assert_eq!(device.take(), OFF);
        assert_eq!(device.state(), State::default());
        assert_eq!(Arc::strong_count(&device), 1);
    }
}

#[test]
fn each_step_that_fails_is_undone() {
    let steps: [fn(&IntxError) -> bool; 4] = [
        |error| matches!(error, IntxError::SetTrigger { .. }),
        |error| matches!(error, IntxError::Mask { .. }),
        |error| matches!(error, IntxError::SetUnmask { .. }),
        |error| matches!(error, IntxError::Unmask { .. }),
    ];
    for (nth, is_of_step) in (1..).zip(steps) {
        let (vm, line, device) = bench();
        device.fails.store(nth, Ordering::Relaxed);
        let error = PassthroughIntx::enable(&line, device.clone()).unwrap_err();
        assert!(is_of_step(&error), "{error}");
        let calls = device.take();
        assert_eq!(device.state(), State::default(), "{calls:?}");
        let bound = calls.iter().filter(|call| *call == "bind").count();
        let unbound = calls.iter().filter(|call| *call == "unbind").count();
        assert_eq!(bound, unbound, "{calls:?}");
        assert_eq!(vm.total_calls(), 0);
        drop(PassthroughIntx::enable(&line, device).unwrap());
    }
    let (vm, line, device) = bench();
    vm.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let error = PassthroughIntx::enable(&line, device.clone()).unwrap_err();
    assert!(matches!(
        error,
        IntxError::Line(LevelError::Arm(IrqFdError::Refused { .. }))
    ));
    assert_eq!(device.state(), State::default());
}

#[test]
fn each_step_back_that_fails_can_be_tried_again() {
    for nth in 1..=3 {
        let (_, line, device) = bench();
        let intx = PassthroughIntx::enable(&line, device.clone()).unwrap();
        device.fails.store(nth, Ordering::Relaxed);
        let rejected = intx.disable().unwrap_err();
        let is_of_step = match nth {
            1 => matches!(rejected.error, IntxError::Mask { .. }),
            2 => matches!(rejected.error, IntxError::SetUnmask { .. }),
            _ => matches!(rejected.error, IntxError::SetTrigger { .. }),
        };
        assert!(is_of_step, "{}", rejected.error);
        assert_eq!(device.state().masked, nth > 1);
        rejected.value.disable().unwrap();
        assert_eq!(device.state(), State::default());
        // If it is dropped instead, the remaining steps are done.
        let intx = PassthroughIntx::enable(&line, device.clone()).unwrap();
        device.take();
        device.fails.store(nth, Ordering::Relaxed);
        drop(intx);
        assert_eq!(device.take(), OFF);
    }
    let (vm, line, device) = bench();
    let intx = PassthroughIntx::enable(&line, device.clone()).unwrap();
    vm.fail(CallKind::IrqFdDeassign, 1, libc::EINVAL);
    let rejected = intx.disable().unwrap_err();
    assert!(matches!(
        rejected.error,
        IntxError::Line(LevelError::Arm(IrqFdError::Deassign { .. }))
    ));
    assert!(rejected.value.irq().is_some());
    assert!(device.state().masked && device.state().unmask);
    rejected.value.disable().unwrap();
}

/// Where no kernel sees EOIs, the line unmasks the device.
#[test]
fn on_a_split_irqchip_the_line_unmasks() {
    let (vm, _, line, exits) = bench::split();
    let device = Arc::new(Device::default());
    let intx = PassthroughIntx::enable(&line, device).unwrap();
    let net = told(&line);
    line.redirect(bench::level(0x52), false).unwrap();
    super::signal(intx.irq().unwrap());
    assert_eq!(vm.take_vector(0), Some(0x52));
    vm.lapic_eoi(0);
    assert_eq!(exits.on_vector(0x52), 1);
    assert_eq!(super::heard(intx.irq().unwrap()), 1);
    assert_eq!(super::heard(&net), 1);
}

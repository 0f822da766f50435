// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines end, are built anew, and go to another VM.

use irqfd::{LevelError, LevelLine};
use notify_core::{MsiMessage, Vm};
use notify_sim::SimVm;

use super::line::{Device, Line};
use super::machine::{LINES, VCPUS, Way};
use super::step::{Kind, Request};
use super::world::World;

impl World {
    pub(super) fn second(&mut self, at: usize) {
        if self.way() == Way::Controller {
            return;
        }
        let second = self.machine.builder(at).map(|builder| builder.build());
        let refused = match second {
            Some(Err(rejected)) => matches!(rejected.error, LevelError::Taken { .. }),
            Some(Ok(_)) => false,
            None => true,
        };
        assert!(refused, "two lines on one GSI");
    }

    /// All devices leave, and the line ends. A fault comes at its end.
    pub(super) fn end_line(&mut self, at: usize) {
        let fault = self.fault.take();
        while !self.lines[at].devices.is_empty() {
            self.drop_device(at, 0);
        }
        self.fault = fault;
        self.call(at, |world| drop(world.lines[at].real.take()));
        let line = &mut self.lines[at];
        line.paused = None;
        line.has_sender = false;
        let is_stuck = self
            .failed
            .is_some_and(|(failed, _)| failed == Request::Deassign);
        line.stuck += u64::from(is_stuck);
        self.listen(at);
        if self.has_failed(Request::Level) {
            self.stays_high[at] = true;
        } else if self.way() == Way::Pins && self.lines[at].sent {
            self.set_level(at, false);
        }
    }

    /// A fault comes when the line ends, or when the next one is built.
    pub(super) fn rebuild(&mut self, at: usize) {
        self.end_line(at);
        let stuck = self.lines[at].stuck;
        if self.way() == Way::Controller {
            let line = self.machine.build(at).expect("it can always be built");
            self.stays_high[at] |= self.lines[at].sent;
            self.lines[at] = Line::new(line);
            return;
        }
        let Some(builder) = self.machine.builder(at) else {
            assert!(
                stuck > 0 && self.way() == Way::Message,
                "the GSI is not returned"
            );
            *self = Self::new(self.kind);
            return;
        };
        assert!(
            !(stuck > 0 && self.way() == Way::Message),
            "something may signal the GSI"
        );
        let mut given = None;
        let result = self.call(at, |_| {
            builder.build().map_err(|rejected| {
                given = Some(rejected.value);
                rejected.error
            })
        });
        let line = self.check_result(result, false).unwrap_or_else(|| {
            let builder = LevelLine::builder(given.expect("the line comes back"));
            let builder = builder.eoi_exits(&self.machine.exits);
            builder.build().expect("no fault is ordered")
        });
        self.machine.built();
        self.lines[at] = Line::new(line);
        self.lines[at].stuck = stuck;
    }

    /// All lines are saved, and the VM goes on.
    pub(super) fn stay(&mut self) {
        self.fault = None;
        for at in 0..LINES {
            self.pause(at);
            self.save(at);
        }
        (0..LINES).for_each(|at| self.resume(at));
    }

    /// The lines go to another VM, in the order of the guide if they are paused there. They have to
    /// be if a device has signalled meanwhile.
    pub(super) fn move_all(&mut self, paused: bool) {
        self.fault = None;
        // A pin stays high if its last exported device leaves meanwhile. Without KVM_IRQ_LINE
        // nothing lowers it in the other VM.
        let left = |line: &Line| line.stuck > 0 || line.paused.is_some() && !line.has_resampled();
        if self.kind == Kind::PinsWithoutIrqLine && self.lines.iter().any(left) {
            return self.stay();
        }
        for at in 0..LINES {
            self.lower_what_cannot_be_set(at);
            self.pause(at);
            self.save(at);
        }
        let mut old = std::mem::replace(self, Self::new(self.kind));
        let kept = old.lines.iter().flat_map(|line| &line.devices);
        let kept = kept.clone().any(|device| device.kept) && self.way() == Way::Pins;
        for at in 0..LINES {
            if kept {
                self.pause(at);
            }
            for device in old.lines[at].devices.drain(..) {
                self.join_again(at, device);
            }
            self.listen(at);
            if paused {
                self.pause(at);
            }
            self.lines[at].saved = old.lines[at].saved.take();
        }
        self.set_controllers(&old);
        drop(old);
        for at in 0..LINES {
            self.restore(at);
            self.resume(at);
        }
    }

    fn join_again(&mut self, at: usize, old: Device) {
        let (trigger, resample) = (old.irq().trigger_notifier(), old.irq().resample_notifier());
        let (trigger, resample) = (trigger.cloned(), resample.cloned());
        // The old line is paused. So is the trigger of an exported device, which is not bound.
        drop(old.irq);
        let line = self.lines[at].real();
        let joined = match (trigger, resample) {
            (None, None) => line.join(),
            (None, Some(resample)) => line.join_resampled(resample).map_err(|it| it.error),
            (trigger, Some(resample)) => {
                let joined = line.join_exported(trigger, resample);
                joined.map_err(|it| it.error)
            }
            (Some(_), None) => unreachable!("an exported device waits for EOIs"),
        };
        let line = &mut self.lines[at];
        line.devices.push(Device {
            irq: Some(joined.expect("it has joined the old one")),
            asserted: false,
            triggered: false,
            late: line.paused.is_some(),
            ..old
        });
    }

    /// What KVM_GET_IRQCHIP and KVM_GET_LAPIC return goes to the new VM. (The simulator cannot save
    /// a GIC or an APLIC.)
    fn set_controllers(&mut self, old: &Self) {
        self.serving.clone_from(&old.serving);
        // The new VM has no irqfd that is stuck, whose EOI would lower the pin.
        self.stays_high = std::array::from_fn(|at| old.stays_high[at] || old.lines[at].stuck > 0);
        self.has_had_edges = old.has_had_edges;
        let vms = [
            (&old.machine.vm, &self.machine.vm),
            (&old.mirror.vm, &self.mirror.vm),
        ];
        for (old_vm, vm) in vms {
            (0..VCPUS).for_each(|vcpu| set_lapic(old_vm, vm, vcpu, &self.serving[vcpu]));
            old_vm
                .ioapic()
                .into_iter()
                .for_each(|state| vm.set_ioapic(state));
            old_vm.pic().into_iter().for_each(|state| vm.set_pic(state));
        }
        for vcpu in 0..VCPUS {
            self.set_lapic(vcpu, old.lapics[vcpu]);
        }
        for at in 0..LINES {
            self.set_edge(at, old.edges[at]);
            let state = old.mirror.chips[at];
            self.mirror.chips[at] = state;
            self.machine.chips[at].change(|chip| *chip = state);
        }
    }
}

fn set_lapic(old: &SimVm, vm: &SimVm, vcpu: usize, serving: &[u8]) {
    let send = |vector: u8| {
        let address = 0xfee0_0000 | (vcpu as u64) << 12;
        let message = MsiMessage::new(address, 1 << 15 | u32::from(vector));
        vm.signal_msi(&message).expect("it has local APICs");
    };
    for vector in serving {
        send(*vector);
        assert_eq!(vm.take_vector(vcpu), Some(*vector));
    }
    old.pending_vectors(vcpu).into_iter().for_each(send);
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells of a set, and single doorbells.

use std::fmt;
use std::sync::Arc;

use ioeventfd::virtio::{Notification, NotifyCapability, PciModern};
use ioeventfd::{
    AfterExit, Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Epoch, IoAddress, IoEventFd,
    Window,
};
use kvm_test::Machine;
use notify_core::{EventFd, EventNotifier, KvmVm};

use crate::call::*;
use crate::row::{Calls, Row, Section, Thread, beside, give, leak, on, take};
use crate::shown::Counted;

const AT: IoAddress = IoAddress::Mmio(0xd000_0000);
const MOVED: IoAddress = IoAddress::Mmio(0xd001_0000);

/// Private or not.
const KINDS: [bool; 2] = [true, false];
const COLUMNS: [&str; 2] = ["private notifier", "shared notifier"];

const NONE: Calls = Some(&[]);

fn section(subject: &'static str, thread: Thread, rows: Vec<Row>) -> Section {
    let columns: &[_] = if rows[0].cells.len() == 1 {
        &[]
    } else {
        &COLUMNS
    };
    Section {
        subject,
        thread,
        columns,
        kvm: true,
        rows,
    }
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        section("`DoorbellSet`", Thread::Vcpu, vcpu()),
        section("`DoorbellSet`", Thread::Vmm, set()),
        section("`IoEventFd` and the registry", Thread::Vmm, others()),
    ]
}

fn vm() -> Arc<KvmVm> {
    let machine = Machine::new().unwrap();
    let vm = machine.vm();
    std::mem::forget(machine);
    vm
}

fn notifier(private: bool) -> Arc<EventNotifier> {
    let notifier = EventNotifier::builder().private(private).build();
    Arc::new(notifier.unwrap())
}

/// A device with one queue.
struct Device {
    registry: DoorbellRegistry,
    set: DoorbellSet,
    notifier: Counted<EventNotifier>,
    /// That of a second queue, so that a change can fail half way.
    other: Counted<EventNotifier>,
}

impl Device {
    fn new(private: bool) -> Self {
        let vm = vm();
        let windows = Window::of_irqchip(&*vm).unwrap();
        let registry = DoorbellRegistry::new(vm, windows);
        Self {
            set: DoorbellSet::new(&registry),
            registry,
            notifier: Counted(notifier(private)),
            other: Counted(notifier(private)),
        }
    }

    fn bells(&self, notifier: &Arc<EventNotifier>) -> [Doorbell; 2] {
        let bell = |key: u16, notifier: &Arc<_>| {
            Doorbell::new(key.into(), AT, Datamatch::U16(key), Arc::clone(notifier))
        };
        [bell(0, notifier), bell(1, &self.other)]
    }

    fn apply(&self, notifier: &Arc<EventNotifier>) -> Epoch {
        let plan = self.set.plan(self.bells(notifier)).unwrap();
        self.set.apply(plan).unwrap()
    }

    fn started(&self) {
        self.set.start().unwrap();
        self.apply(&self.notifier);
    }
}

fn row(
    operation: &'static str,
    calls: [Calls; 2],
    prepare: fn(&Device),
    act: fn(&'static Device),
) -> Row {
    Row::each(operation, KINDS, calls, move |private| {
        let device = leak(Device::new(private));
        prepare(device);
        on(device, act)
    })
}

fn vcpu() -> Vec<Row> {
    vec![
        row(
            "`on_exit_write`, a doorbell",
            [Some(&[WRITE]), Some(&[WRITE])],
            Device::started,
            |device| {
                assert_eq!(
                    device.set.on_exit_write(AT, &[0, 0]).unwrap(),
                    AfterExit::Resume
                );
            },
        ),
        row(
            "`on_exit_write`, another register; `key_of_write`",
            [NONE, NONE],
            Device::started,
            |device| {
                assert_eq!(
                    device.set.on_exit_write(AT, &[9, 9]).unwrap(),
                    AfterExit::Emulate
                );
                assert!(device.set.key_of_write(AT, &[0, 0]).is_some());
            },
        ),
        row(
            "`apply` of one more doorbell (the driver enables a queue)",
            [Some(&[KVM_IOEVENTFD]), Some(&[KVM_IOEVENTFD])],
            |device| device.set.start().unwrap(),
            |device| {
                device.apply(&device.notifier);
            },
        ),
        row(
            "`relocate` (a BAR moves)",
            [Some(&[KVM_IOEVENTFD]), Some(&[KVM_IOEVENTFD])],
            Device::started,
            |device| {
                let to = MOVED;
                device.set.relocate(AT, 0x1000, to).unwrap();
            },
        ),
        row(
            "`stop` (the driver resets the device)",
            [
                Some(&[READ, KVM_IOEVENTFD]),
                Some(&[PREADV2, KVM_IOEVENTFD]),
            ],
            Device::started,
            |device| drop(device.set.stop().unwrap()),
        ),
        row(
            "`start`, with the doorbells that it had",
            [Some(&[WRITE, KVM_IOEVENTFD]), Some(&[WRITE, KVM_IOEVENTFD])],
            |device| {
                device.started();
                drop(device.set.stop().unwrap());
            },
            |device| device.set.start().unwrap(),
        ),
    ]
}

fn set() -> Vec<Row> {
    vec![
        row("`new`, `plan`", [NONE, NONE], Device::started, |device| {
            std::mem::forget(DoorbellSet::new(&device.registry));
            assert_eq!(device.set.plan([]).unwrap().removals(), 2);
        }),
        row(
            "`kick`",
            [Some(&[WRITE]), Some(&[WRITE])],
            Device::started,
            |device| device.set.kick().unwrap(),
        ),
        row(
            "`drain`",
            [Some(&[READ]), Some(&[PREADV2])],
            Device::started,
            |device| drop(device.set.drain().unwrap()),
        ),
        Row::each(
            "`apply` of another notifier for a queue",
            KINDS,
            [
                Some(&[READ, KVM_IOEVENTFD]),
                Some(&[PREADV2, KVM_IOEVENTFD]),
            ],
            |private| {
                let device = Device::new(private);
                device.started();
                let both = leak((device, notifier(private)));
                on(both, |(device, new)| device.apply(new))
            },
        ),
        Row::each(
            "`apply` of an `EventFd` whose mode was not asked for",
            KINDS,
            [
                Some(&[READ, KVM_IOEVENTFD]),
                Some(&[PREADV2, KVM_IOEVENTFD]),
            ],
            |private| {
                let device = Device::new(private);
                device.started();
                let new = EventNotifier::from(EventFd::new(0).unwrap());
                if private {
                    new.declare_private().unwrap();
                }
                let both = leak((device, Arc::new(new)));
                on(both, |(device, new)| device.apply(new))
            },
        ),
        row("`vcpus_passed`", [NONE, NONE], Device::started, |device| {
            let plan = device.set.plan(device.bells(&device.notifier)).unwrap();
            let epoch = device.set.apply(plan).unwrap();
            device.set.vcpus_passed(epoch).unwrap();
        }),
        Row::each(
            "drop of a set that is started",
            KINDS,
            [Some(&[KVM_IOEVENTFD]), Some(&[KVM_IOEVENTFD])],
            |private| {
                let device = Device::new(private);
                device.started();
                let Device {
                    registry,
                    set,
                    notifier,
                    other,
                } = device;
                beside(leak((registry, notifier, other)), set, drop)
            },
        ),
    ]
}

fn builder(vm: Arc<KvmVm>) -> ioeventfd::IoEventFdBuilder {
    IoEventFd::builder(vm, AT, Datamatch::U16(0))
}

fn others() -> Vec<Row> {
    vec![
        Row::new("`Window::of_irqchip`", &[KVM_IRQFD], || {
            on(leak(vm()), |vm| Window::of_irqchip(&**vm).unwrap())
        }),
        Row::new("`DoorbellRegistry::new`, `reserve`", &[], || {
            take(vm(), |vm| std::mem::forget(DoorbellRegistry::new(vm, &[])))
        }),
        Row::new("`PciModern::any_width`", &[], || {
            on(leak(vm()), |vm| {
                let capability = NotifyCapability {
                    offset: 0,
                    length: 0x1000,
                    multiplier: 4,
                };
                let layout = PciModern::new(capability, 0x1000, Notification::Index).unwrap();
                layout.any_width(&**vm).unwrap();
            })
        }),
        Row::new(
            "`IoEventFdBuilder::assign`, with an eventfd of its own",
            &[EVENTFD2, KVM_IOEVENTFD],
            || give(builder(vm()), |builder| builder.assign()),
        ),
        Row::new(
            "`IoEventFdBuilder::assign`, with a notifier",
            &[KVM_IOEVENTFD],
            || {
                let builder = builder(vm()).notifier(notifier(false));
                give(builder, |builder| builder.assign())
            },
        ),
        Row::new("`IoEventFd::deassign`", &[KVM_IOEVENTFD], || {
            let bell = builder(vm()).assign().unwrap();
            give(bell, |bell| bell.deassign())
        }),
        Row::new("drop of an `IoEventFd`", &[CLOSE, KVM_IOEVENTFD], || {
            take(builder(vm()).assign().unwrap(), drop)
        }),
    ]
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (set, registry) = (&self.set, &self.registry);
        writeln!(f, "{set:?}, started: {}, {registry:?}", set.is_started())?;
        writeln!(f, "{:?}, {:?}", set.doorbells(), self.notifier)?;
        for (address, bytes) in [(AT, [0, 0]), (MOVED, [0, 0])] {
            writeln!(
                f,
                "{address:?} is of {:?}",
                set.key_of_write(address, &bytes)
            )?;
        }
        writeln!(
            f,
            "removals: {:?}",
            set.plan([]).map(|plan| plan.removals())
        )?;
        writeln!(f, "quarantined: {}", registry.quarantined())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rest of the crate `irqfd`: bare irqfds, interrupts without an eventfd, the queue, VFIO.

use std::io;
use std::sync::Arc;

use irq_routing::{GsiLease, MsiMessage, RoutingTable};
use irqfd::vfio::{IntxDevice, PassthroughIntx};
use irqfd::{ArmQueue, IrqFd, IrqFdBuilder, LevelLine, Vector, inject};
use kvm_test::{Machine, bare};
use notify_core::{EventFd, EventNotifier, KvmVcpu};

use crate::call::*;
use crate::row::{Row, Section, Thread, beside, give, leak, on, take};
use crate::shown::Routing;

fn section(subject: &'static str, thread: Thread, rows: Vec<Row>) -> Section {
    Section {
        subject,
        thread,
        columns: &[],
        kvm: true,
        rows,
    }
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        section("`IrqFd`", Thread::Vmm, irqfd()),
        section("`ArmQueue`", Thread::Vmm, queue()),
        section("`vfio::PassthroughIntx`", Thread::Vmm, intx()),
        section("`inject`", Thread::Device, injections()),
        section("`inject::vcpu`", Thread::Vcpu, vec![interrupt()]),
    ]
}

fn table() -> Routing {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    std::mem::forget(machine);
    Routing(table)
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, vector)
}

fn lease() -> GsiLease {
    table().lease_msi(message(0x41)).unwrap()
}

fn irqfd() -> Vec<Row> {
    vec![
        Row::new(
            "`assign`, with an eventfd of its own",
            &[EVENTFD2, KVM_IRQFD],
            || give(IrqFd::builder(lease()), IrqFdBuilder::assign),
        ),
        Row::new(
            "`assign`, with a notifier that these crates made",
            &[PREADV2, KVM_IRQFD],
            || {
                let notifier = Arc::new(EventNotifier::new().unwrap());
                std::mem::forget(Arc::clone(&notifier));
                give(
                    IrqFd::builder(lease()).notifier(notifier),
                    IrqFdBuilder::assign,
                )
            },
        ),
        Row::new("`assign`, with a private notifier", &[KVM_IRQFD], || {
            let notifier = EventNotifier::builder().private(true).build();
            let notifier = Arc::new(notifier.unwrap());
            std::mem::forget(Arc::clone(&notifier));
            give(
                IrqFd::builder(lease()).notifier(notifier),
                IrqFdBuilder::assign,
            )
        }),
        Row::new(
            "`assign`, with an `EventFd` whose mode was not asked for",
            &[READ, PREADV2, CLOSE, MUSL_F_SETFD, OPENAT, STATX, KVM_IRQFD],
            || {
                let notifier = Arc::new(EventNotifier::from(EventFd::new(0).unwrap()));
                give(
                    IrqFd::builder(lease()).notifier(notifier),
                    IrqFdBuilder::assign,
                )
            },
        ),
        Row::new("`deassign`", &[KVM_IRQFD], || {
            let irq = IrqFd::builder(lease()).assign().unwrap();
            give(irq, IrqFd::deassign)
        }),
        Row::new("drop", &[CLOSE, KVM_IRQFD], || {
            let table = leak(table());
            let lease = table.lease_msi(message(0x41)).unwrap();
            beside(table, IrqFd::builder(lease).assign().unwrap(), drop)
        }),
    ]
}

fn queue() -> Vec<Row> {
    vec![
        Row::new(
            "`new`",
            &[EVENTFD2, EPOLL_CREATE1, EPOLL_CTL, TIMERFD_CREATE],
            || {
                on(leak(table()), |table| {
                    std::mem::forget(ArmQueue::new(table).unwrap())
                })
            },
        ),
        Row::new("`run_pending`, nothing waits", &[READ], || {
            on(leak(ArmQueue::new(&table()).unwrap()), |queue| {
                assert_eq!(queue.run_pending().armed, 0);
            })
        }),
        Row::new(
            "`run_pending`, no GSI is free for a vector",
            &[READ, TIMERFD_SETTIME],
            || {
                let table = table();
                let queue = ArmQueue::new(&table).unwrap();
                std::iter::from_fn(|| table.lease_if_free().ok()).for_each(std::mem::forget);
                let vector = Vector::builder(&table).queue(&queue).private_irqfd(true);
                let vector = vector.build().unwrap();
                vector.set_message(message(0x41)).unwrap();
                vector.unmask().unwrap();
                std::mem::forget(vector);
                on(leak(queue), |queue| {
                    assert_eq!(queue.run_pending().failed.len(), 1);
                })
            },
        ),
        Row::new("drop", &[READ, CLOSE], || {
            let table = table();
            let queue = ArmQueue::new(&table).unwrap();
            beside(leak(table), queue, drop)
        }),
    ]
}

/// VFIO's calls are the VMM's.
#[derive(Debug)]
struct NoDevice;

impl IntxDevice for NoDevice {
    fn mask(&self) -> io::Result<()> {
        Ok(())
    }

    fn unmask(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_trigger(&self, _: Option<&EventNotifier>) -> io::Result<()> {
        Ok(())
    }

    fn set_unmask(&self, _: Option<&EventNotifier>) -> io::Result<()> {
        Ok(())
    }
}

fn level_line() -> &'static LevelLine {
    let line = table().line(10).unwrap();
    leak(LevelLine::builder(line).build().unwrap())
}

fn intx() -> Vec<Row> {
    vec![
        Row::new(
            "`enable`, beside VFIO_DEVICE_SET_IRQS",
            &[PREADV2, EVENTFD2, KVM_IRQFD],
            || {
                on(level_line(), |line| {
                    let intx = PassthroughIntx::enable(line, Arc::new(NoDevice));
                    std::mem::forget(intx.unwrap());
                })
            },
        ),
        Row::new(
            "`disable`, beside VFIO_DEVICE_SET_IRQS",
            &[CLOSE, KVM_IRQFD],
            || {
                let intx = PassthroughIntx::enable(level_line(), Arc::new(NoDevice));
                give(intx.unwrap(), PassthroughIntx::disable)
            },
        ),
        Row::new(
            "drop, beside VFIO_DEVICE_SET_IRQS",
            &[CLOSE, KVM_IRQFD],
            || {
                let intx = PassthroughIntx::enable(level_line(), Arc::new(NoDevice));
                take(intx.unwrap(), drop)
            },
        ),
    ]
}

fn injections() -> Vec<Row> {
    vec![
        Row::new("`message`", &[KVM_SIGNAL_MSI], || {
            on(leak(table()), |table| {
                inject::message(table, message(0x41)).unwrap()
            })
        }),
        Row::new("`line`", &[KVM_IRQ_LINE], || {
            on(leak(table().line(10).unwrap()), |line| {
                inject::line(line, true).unwrap()
            })
        }),
        Row::new("`line_status`", &[KVM_IRQ_LINE_STATUS], || {
            on(leak(table().line(10).unwrap()), |line| {
                inject::line_status(line, true).unwrap()
            })
        }),
    ]
}

fn interrupt() -> Row {
    Row::new("`vcpu`", &[KVM_INTERRUPT], || {
        let vm_fd = bare().unwrap();
        let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
        let vcpu = KvmVcpu::try_from(&vcpu_fd).unwrap();
        std::mem::forget((vm_fd, vcpu_fd));
        on(leak(vcpu), |vcpu| inject::vcpu(vcpu, 0x41).unwrap())
    })
}

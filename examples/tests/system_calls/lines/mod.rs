// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Level-triggered lines: with pins in the kernel and on a split irqchip, for a device of the VMM
//! and for an exported one.

mod vmm;

use std::sync::Arc;

use irq_routing::{Line, MsiMessage, RoutingTable};
use irqfd::{EoiExits, EventNotifier, LevelError, LevelIrq, LevelLine, LevelLineBuilder};
use kvm_test::{Machine, split};
use notify_core::KvmVm;

use crate::call::*;
use crate::row::{Calls, Row, Section, Thread, leak, on};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Own,
    Exported,
    SplitOwn,
    SplitExported,
    /// A device of the VMM, whose line sees no EOIs.
    WithoutEois,
}

use Kind::{Exported, Own, SplitExported, SplitOwn, WithoutEois};

const KINDS: [Kind; 5] = [Own, Exported, SplitOwn, SplitExported, WithoutEois];
pub(crate) const COLUMNS: [&str; 5] = [
    "pins in the kernel, a device of the VMM",
    "pins in the kernel, an exported device",
    "split irqchip, a device of the VMM",
    "split irqchip, an exported device",
    "split irqchip, without EOIs",
];

const ABSENT: Calls = None;
const NONE: Calls = Some(&[]);

impl Kind {
    fn is_split(self) -> bool {
        matches!(self, SplitOwn | SplitExported | WithoutEois)
    }
}

#[derive(Debug)]
struct Board {
    line: LevelLine,
    irq: LevelIrq,
    /// A second exported device, so that a change can fail half way.
    other: Option<LevelIrq>,
    exits: EoiExits,
}

/// GSI 10 of a new VM.
fn line(kind: Kind) -> Line {
    if kind.is_split() {
        let vm_fd = split().unwrap();
        std::mem::forget(vm_fd.create_vcpu(0).unwrap());
        let table = RoutingTable::new(Arc::new(KvmVm::try_from(&vm_fd).unwrap())).unwrap();
        std::mem::forget(vm_fd);
        let lease = table.lease_exact(10).unwrap();
        lease.set_route(MsiMessage::default()).unwrap();
        return lease.into_line().unwrap();
    }
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    std::mem::forget(machine);
    table.line(10).unwrap()
}

fn builder(line: Line, kind: Kind, exits: &EoiExits) -> LevelLineBuilder {
    let builder = LevelLine::builder(line);
    match kind {
        Own | Exported => builder,
        SplitOwn | SplitExported => builder.eoi_exits(exits),
        WithoutEois => builder.without_eois(),
    }
}

impl Board {
    fn new(kind: Kind) -> Self {
        let exits = EoiExits::default();
        let line = builder(line(kind), kind, &exits).build().unwrap();
        let irq = join(&line, kind);
        let other = matches!(kind, Exported | SplitExported).then(|| join(&line, kind));
        if kind.is_split() {
            line.redirect(message(0x51), false).unwrap();
        }
        Self {
            line,
            irq,
            other,
            exits,
        }
    }

    fn assert(&self) {
        match self.irq.trigger_notifier() {
            Some(trigger) => trigger.notify().unwrap(),
            None => self.irq.assert().unwrap(),
        }
    }
}

fn join(line: &LevelLine, kind: Kind) -> LevelIrq {
    match kind {
        Own | SplitOwn => line.join_resampled(notifier()).map_err(LevelError::from),
        Exported | SplitExported => line
            .join_exported(None, notifier())
            .map_err(LevelError::from),
        WithoutEois => line.join(),
    }
    .unwrap()
}

pub(crate) fn notifier() -> Arc<EventNotifier> {
    Arc::new(EventNotifier::new().unwrap())
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, 0x8000 | vector)
}

fn row(
    operation: &'static str,
    calls: [Calls; 5],
    prepare: fn(&Board),
    act: fn(&'static Board),
) -> Row {
    Row::each(operation, KINDS, calls, move |kind| {
        let board = leak(Board::new(kind));
        prepare(board);
        on(board, act)
    })
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        section(Thread::Vcpu, vcpu()),
        section(Thread::Device, device()),
        section(Thread::Vmm, vmm::rows()),
    ]
}

fn section(thread: Thread, rows: Vec<Row>) -> Section {
    Section {
        subject: "level-triggered lines",
        thread,
        columns: &COLUMNS,
        kvm: true,
        rows,
    }
}

fn nothing(_: &Board) {}

fn vcpu() -> Vec<Row> {
    vec![
        row(
            "`redirect`, masked",
            [ABSENT, ABSENT, NONE, Some(&[KVM_IRQFD]), NONE],
            nothing,
            |board| board.line.redirect(message(0x51), true).unwrap(),
        ),
        row(
            "`redirect`, unmasked with another message",
            [
                ABSENT,
                ABSENT,
                Some(&[KVM_SET_GSI_ROUTING]),
                Some(&[WRITE, KVM_SET_GSI_ROUTING, KVM_IRQFD]),
                Some(&[KVM_SET_GSI_ROUTING]),
            ],
            |board| board.line.redirect(message(0x51), true).unwrap(),
            |board| board.line.redirect(message(0x52), false).unwrap(),
        ),
        row(
            "`redirect`, unmasked while the line is high",
            [
                ABSENT,
                ABSENT,
                Some(&[KVM_IRQ_LINE_STATUS]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQ_LINE_STATUS]),
            ],
            |board| {
                board.line.redirect(message(0x51), true).unwrap();
                board.assert();
            },
            |board| board.line.redirect(message(0x51), false).unwrap(),
        ),
        row(
            "an EOI exit (`EoiExits::on_vector`)",
            [
                ABSENT,
                ABSENT,
                Some(&[WRITE, KVM_IRQ_LINE_STATUS]),
                Some(&[WRITE]),
                ABSENT,
            ],
            Board::assert,
            |board| assert_eq!(board.exits.on_vector(0x51), 1),
        ),
    ]
}

fn device() -> Vec<Row> {
    vec![
        row(
            "`assert`, or a signal to the trigger",
            [
                Some(&[KVM_IRQ_LINE]),
                Some(&[WRITE]),
                Some(&[KVM_IRQ_LINE_STATUS]),
                Some(&[WRITE]),
                Some(&[KVM_IRQ_LINE_STATUS]),
            ],
            nothing,
            Board::assert,
        ),
        row(
            "`deassert`",
            [Some(&[KVM_IRQ_LINE]), ABSENT, NONE, ABSENT, NONE],
            Board::assert,
            |board| board.irq.deassert().unwrap(),
        ),
        row(
            "`reassert`",
            [
                Some(&[KVM_IRQ_LINE]),
                NONE,
                NONE,
                NONE,
                Some(&[KVM_IRQ_LINE_STATUS]),
            ],
            Board::assert,
            |board| board.line.reassert().unwrap(),
        ),
    ]
}

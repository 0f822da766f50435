// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a VMM does with a line: hotplug, snapshots, unplug.

use std::sync::Arc;

use irqfd::{EoiExits, LevelIrq};

use super::{Board, KINDS, Kind, NONE, builder, join, nothing, notifier, row};
use crate::call::*;
use crate::row::{Row, give, leak, on, take, with};

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::each(
            "`LevelLineBuilder::build`",
            KINDS,
            [
                NONE,
                NONE,
                Some(&[EVENTFD2, CLOSE, KVM_IRQFD]),
                Some(&[EVENTFD2, CLOSE, KVM_IRQFD]),
                NONE,
            ],
            |kind| {
                give(super::line(kind), move |line| {
                    builder(line, kind, &EoiExits::default()).build()
                })
            },
        ),
        Row::each(
            "`join_resampled`, `join_exported`, `join`, with new notifiers",
            KINDS,
            [
                Some(&[EVENTFD2, KVM_IRQFD]),
                Some(&[EVENTFD2, KVM_IRQFD]),
                Some(&[EVENTFD2]),
                Some(&[EVENTFD2]),
                NONE,
            ],
            |kind| {
                let exits = leak(EoiExits::default());
                let line = leak(builder(super::line(kind), kind, exits).build().unwrap());
                with(line, move || std::mem::forget(join(line, kind)))
            },
        ),
        Row::each(
            "`join_exported`, with a trigger that these crates made",
            KINDS,
            [
                None,
                Some(&[PREADV2, KVM_IRQFD]),
                None,
                Some(&[PREADV2]),
                None,
            ],
            |kind| {
                let exits = leak(EoiExits::default());
                let line = leak(builder(super::line(kind), kind, exits).build().unwrap());
                let notifiers = leak((line, notifier(), notifier()));
                on(notifiers, |(line, trigger, resample)| {
                    let (trigger, resample) = (Some(Arc::clone(trigger)), Arc::clone(resample));
                    std::mem::forget(line.join_exported(trigger, resample).unwrap())
                })
            },
        ),
        row(
            "`pause`",
            [
                Some(&[EVENTFD2, KVM_IRQFD]),
                Some(&[EVENTFD2, KVM_IRQFD]),
                NONE,
                Some(&[KVM_IRQFD]),
                NONE,
            ],
            nothing,
            |board| board.line.pause().unwrap(),
        ),
        row(
            "`snapshot`",
            [NONE, NONE, NONE, NONE, NONE],
            |board| board.line.pause().unwrap(),
            |board| drop(board.line.snapshot().unwrap()),
        ),
        row(
            "`resume`, after an interrupt has come",
            [
                Some(&[READ, CLOSE, KVM_IRQ_LINE, KVM_IRQFD]),
                Some(&[READ, CLOSE, KVM_IRQFD]),
                Some(&[KVM_IRQ_LINE_STATUS]),
                Some(&[KVM_IRQFD]),
                Some(&[KVM_IRQ_LINE_STATUS]),
            ],
            |board| {
                board.line.pause().unwrap();
                board.assert();
            },
            |board| board.line.resume().unwrap(),
        ),
        row(
            "`restore`, the line paused",
            [
                Some(&[WRITE]),
                Some(&[WRITE]),
                Some(&[WRITE]),
                Some(&[WRITE]),
                NONE,
            ],
            |board| {
                board.assert();
                board.line.pause().unwrap();
            },
            |board| {
                let snapshot = board.line.snapshot().unwrap();
                board.line.restore(&snapshot).unwrap();
            },
        ),
        row(
            "`resync`",
            [
                Some(&[WRITE, KVM_IRQ_LINE]),
                Some(&[WRITE, KVM_IRQ_LINE]),
                Some(&[WRITE, KVM_IRQ_LINE_STATUS]),
                Some(&[WRITE]),
                Some(&[KVM_IRQ_LINE_STATUS]),
            ],
            Board::assert,
            |board| board.line.resync().unwrap(),
        ),
        Row::each(
            "`LevelIrq::leave`, while it asserts",
            KINDS,
            [
                Some(&[CLOSE, KVM_IRQ_LINE, KVM_IRQFD]),
                Some(&[CLOSE, KVM_IRQFD]),
                Some(&[CLOSE]),
                Some(&[CLOSE, KVM_IRQFD]),
                NONE,
            ],
            |kind| give(asserting(kind), LevelIrq::leave),
        ),
        Row::each(
            "drop of a `LevelIrq`, while it asserts",
            KINDS,
            [
                Some(&[CLOSE, KVM_IRQ_LINE, KVM_IRQFD]),
                Some(&[CLOSE, KVM_IRQFD]),
                Some(&[CLOSE]),
                Some(&[CLOSE, KVM_IRQFD]),
                NONE,
            ],
            |kind| take(asserting(kind), drop),
        ),
    ]
}

/// A device that asserts. What it is on stays.
fn asserting(kind: Kind) -> LevelIrq {
    let board = Board::new(kind);
    board.assert();
    let Board {
        line,
        irq,
        other,
        exits,
    } = board;
    std::mem::forget((line, other, exits));
    irq
}

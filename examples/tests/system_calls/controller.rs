// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Lines to an interrupt controller of the VMM. The controller's own system calls are not counted.

use std::io;
use std::sync::Arc;

use irqfd::{Controller, EoiExits, LevelIrq, LevelLine};

use crate::call::*;
use crate::lines::notifier;
use crate::row::{Body, Row, Section, Thread, leak, on_each};

/// It makes no system call.
#[derive(Debug)]
struct Pins;

impl Controller for Pins {
    fn set_level(&self, _: u32, _: bool) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn sections() -> Vec<Section> {
    let section = |thread, rows| Section {
        subject: "lines of the VMM's own controller",
        thread,
        columns: &[],
        kvm: false,
        rows,
    };
    vec![
        section(Thread::Vcpu, vcpu()),
        section(Thread::Device, device()),
        section(Thread::Vmm, vmm()),
    ]
}

/// A device of the VMM and an exported one.
#[derive(Debug)]
struct Board {
    line: LevelLine,
    own: LevelIrq,
    exported: LevelIrq,
}

fn board<const N: usize>(acts: [fn(&'static Board); N]) -> Body {
    let line = LevelLine::on_controller(10, Arc::new(Pins), leak(EoiExits::default()));
    let own = line.join_resampled(notifier()).unwrap();
    let exported = line.join_exported(None, notifier()).unwrap();
    exported.trigger_notifier().unwrap().notify().unwrap();
    let board = Board {
        line,
        own,
        exported,
    };
    on_each(leak(board), acts)
}

fn vcpu() -> Vec<Row> {
    vec![Row::new("`on_eoi`, `EoiExits::on_pin`", &[WRITE], || {
        board([
            |board| board.own.assert().unwrap(),
            |board| board.line.on_eoi().unwrap(),
        ])
    })]
}

fn device() -> Vec<Row> {
    vec![
        Row::new("`assert`, `deassert`", &[], || {
            board([
                |board| board.own.assert().unwrap(),
                |board| board.own.deassert().unwrap(),
            ])
        }),
        Row::new("`take_trigger`", &[PREADV2], || {
            board([|board| assert!(board.exported.take_trigger().unwrap())])
        }),
    ]
}

fn vmm() -> Vec<Row> {
    vec![
        Row::new("`pause`, `snapshot`, `resume`", &[], || {
            board([
                |board| board.line.pause().unwrap(),
                |board| drop(board.line.snapshot().unwrap()),
                |board| board.line.resume().unwrap(),
            ])
        }),
        Row::new("`join_resampled`, with a new notifier", &[EVENTFD2], || {
            board([|board| std::mem::forget(board.line.join_resampled(notifier()).unwrap())])
        }),
    ]
}

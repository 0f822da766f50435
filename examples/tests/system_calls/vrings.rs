// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rings of a vhost back-end. The back-end's own system calls are not counted.

use std::io;
use std::sync::{Mutex, MutexGuard};

use notify_core::vring::{VringBackend, Vrings};
use notify_core::{EventNotifier, NotifierPair};

use crate::call::*;
use crate::row::{Body, Row, Section, Thread, leak, with};

/// It makes no system call.
#[derive(Debug)]
struct Nothing;

impl VringBackend for Nothing {
    fn set_kick(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> {
        Ok(())
    }

    fn set_call(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> {
        Ok(())
    }

    fn set_err(&mut self, _: usize, _: &EventNotifier) -> io::Result<()> {
        Ok(())
    }

    fn start(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn stop(&mut self, rings: usize) -> io::Result<Vec<u32>> {
        Ok(vec![0; rings])
    }
}

pub(crate) fn sections() -> Vec<Section> {
    vec![Section {
        subject: "`Vrings`, beside those of the back-end",
        thread: Thread::Vmm,
        columns: &[],
        kvm: false,
        rows: rows(),
    }]
}

fn rings() -> Vrings<Nothing> {
    Vrings::new([NotifierPair::new().unwrap(), NotifierPair::new().unwrap()]).unwrap()
}

fn on(rings: Vrings<Nothing>, mut act: impl FnMut(&mut Vrings<Nothing>) + Send + 'static) -> Body {
    let rings = leak(Mutex::new(rings));
    let mut body = with(&(), move || act(&mut locked(rings)));
    body.state = Box::new(move || format!("{:?}", locked(rings)));
    body
}

/// A panic is a failure here, and no reason for the next operation to fail.
fn locked(rings: &Mutex<Vrings<Nothing>>) -> MutexGuard<'_, Vrings<Nothing>> {
    rings.clear_poison();
    rings.lock().unwrap()
}

fn started() -> Vrings<Nothing> {
    let mut rings = rings();
    rings.start(Nothing).unwrap();
    rings
}

fn rows() -> Vec<Row> {
    vec![
        Row::new("`new`", &[EVENTFD2], || {
            let pair = leak(NotifierPair::new().unwrap());
            with(pair, move || {
                std::mem::forget(Vrings::<Nothing>::new([pair.clone()]).unwrap());
            })
        }),
        Row::new("`start`", &[WRITE, PREADV2, F_GETFL], || {
            on(rings(), |rings| rings.start(Nothing).unwrap())
        }),
        Row::new("`stop`", &[PREADV2], || {
            on(started(), |rings| drop(rings.stop().unwrap()))
        }),
        Row::new(
            "`set_pair`, with notifiers that these crates made",
            &[],
            || {
                let rings = rings();
                // The other holder keeps the eventfds open.
                std::mem::forget(rings.pair(0).cloned());
                let pair = leak(NotifierPair::new().unwrap());
                on(rings, |rings| rings.set_pair(0, pair.clone()).unwrap())
            },
        ),
        Row::new("`abandon`", &[], || {
            on(started(), |rings| assert!(rings.abandon().is_some()))
        }),
        Row::new(
            "`start` after `abandon`",
            &[WRITE, PREADV2, F_GETFL],
            || {
                let mut rings = started();
                rings.abandon();
                on(rings, |rings| rings.start(Nothing).unwrap())
            },
        ),
        Row::new("`failed`", &[PREADV2], || {
            on(started(), |rings| drop(rings.failed().unwrap()))
        }),
    ]
}

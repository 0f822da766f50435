// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The dispatcher: turns on the thread that runs it, and changes of its handlers from another one.

use std::num::NonZeroU64;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{
    Dispatcher, DispatcherHandle, Handler, HandlerError, PollHandler, Progress, Token, Turn,
};

use crate::call::*;
use crate::row::{Calls, Row, Section, Thread, leak, on, on_each, take, with};
use crate::shown::Counted;

/// Private or not.
const KINDS: [bool; 2] = [true, false];
const COLUMNS: [&str; 2] = ["private notifiers", "shared notifiers"];

pub(crate) fn sections() -> Vec<Section> {
    let section = |thread, rows| Section {
        subject: "`Dispatcher`",
        thread,
        columns: &COLUMNS,
        kvm: false,
        rows,
    };
    vec![
        section(Thread::Device, turns()),
        section(Thread::Vmm, changes()),
    ]
}

/// A dispatcher with one notifier.
#[derive(Debug)]
struct Loop {
    dispatcher: Dispatcher,
    handle: DispatcherHandle,
    notifier: Counted<EventNotifier>,
    token: Token,
}

/// An empty ring.
struct Ring;

impl Handler for Ring {
    fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl PollHandler for Ring {
    fn poll(&mut self) -> Progress {
        Progress::None
    }
}

fn notifier(private: bool) -> Counted<EventNotifier> {
    let builder = EventNotifier::builder().private(private);
    Counted(Arc::new(builder.build().unwrap()))
}

impl Loop {
    fn new(private: bool) -> Self {
        let dispatcher = Dispatcher::new().unwrap();
        let (handle, notifier) = (dispatcher.handle(), notifier(private));
        let token = handle.add(Arc::clone(&notifier), |_| Ok(())).unwrap();
        Self {
            dispatcher,
            handle,
            notifier,
            token,
        }
    }
}

fn row(
    operation: &'static str,
    calls: [Calls; 2],
    prepare: fn(&Loop),
    act: fn(&'static Loop),
) -> Row {
    Row::each(operation, KINDS, calls, move |private| {
        let it = leak(Loop::new(private));
        prepare(it);
        on(it, act)
    })
}

fn nothing(_: &Loop) {}

fn turns() -> Vec<Row> {
    vec![
        row(
            "a turn that calls a handler",
            [
                Some(&[READ, GETPID, EPOLL_WAIT]),
                Some(&[PREADV2, GETPID, EPOLL_WAIT]),
            ],
            |it| it.notifier.notify().unwrap(),
            |it| assert_eq!(it.dispatcher.run_once(None).unwrap(), Turn::Worked(1)),
        ),
        row(
            "a turn that finds nothing",
            [Some(&[GETPID, EPOLL_WAIT]), Some(&[GETPID, EPOLL_WAIT])],
            nothing,
            |it| {
                let turn = it.dispatcher.run_once(Some(Duration::ZERO));
                assert_eq!(turn.unwrap(), Turn::TimedOut);
            },
        ),
        Row::each(
            "turns with a handler that is polled",
            KINDS,
            [
                Some(&[READ, GETPID, EPOLL_WAIT]),
                Some(&[PREADV2, GETPID, EPOLL_WAIT]),
            ],
            |private| {
                let dispatcher = Dispatcher::new().unwrap();
                let notifier = leak(notifier(private));
                dispatcher
                    .handle()
                    .add_polled(Arc::clone(notifier), Ring)
                    .unwrap();
                notifier.notify().unwrap();
                on(leak(dispatcher), |dispatcher| {
                    for _ in 0..2 {
                        dispatcher.run_once(Some(Duration::from_millis(1))).unwrap();
                    }
                })
            },
        ),
        Row::each(
            "a turn that calls the handler of another descriptor",
            KINDS,
            [
                Some(&[GETPID, EPOLL_CTL, EPOLL_WAIT]),
                Some(&[GETPID, EPOLL_CTL, EPOLL_WAIT]),
            ],
            |_| {
                let dispatcher = Dispatcher::new().unwrap();
                let (ours, peer) = UnixStream::pair().unwrap();
                let ours = Arc::new(ours);
                dispatcher
                    .handle()
                    .add_fd(Arc::clone(&ours), |_| Ok(()))
                    .unwrap();
                // It stays ready.
                drop(peer);
                on(leak((dispatcher, ours)), |(dispatcher, _)| {
                    assert_eq!(dispatcher.run_once(None).unwrap(), Turn::Worked(1));
                })
            },
        ),
    ]
}

fn changes() -> Vec<Row> {
    vec![
        Row::each(
            "`Dispatcher::new`",
            KINDS,
            [
                Some(&[
                    EVENTFD2,
                    F_DUPFD_CLOEXEC,
                    MUSL_F_SETFD,
                    GETPID,
                    EPOLL_CREATE1,
                    EPOLL_CTL,
                ]),
                Some(&[
                    EVENTFD2,
                    F_DUPFD_CLOEXEC,
                    MUSL_F_SETFD,
                    GETPID,
                    EPOLL_CREATE1,
                    EPOLL_CTL,
                ]),
            ],
            |_| with(&(), || std::mem::forget(Dispatcher::new().unwrap())),
        ),
        Row::each(
            "`add`, `add_handler`, `add_polled`, `add_fd`",
            KINDS,
            [Some(&[GETPID, EPOLL_CTL]), Some(&[GETPID, EPOLL_CTL])],
            |private| {
                let both = leak((Dispatcher::new().unwrap(), notifier(private)));
                with(both, move || {
                    let (dispatcher, notifier) = both;
                    dispatcher
                        .handle()
                        .add(Arc::clone(notifier), |_| Ok(()))
                        .unwrap();
                })
            },
        ),
        Row::each(
            "`pause`, `remove`",
            KINDS,
            [
                Some(&[READ, GETPID, EPOLL_CTL]),
                Some(&[PREADV2, GETPID, EPOLL_CTL]),
            ],
            |private| {
                let pause: fn(&'static Loop) = |it| _ = it.handle.pause(it.token).unwrap();
                let remove: fn(&'static Loop) = |it| _ = it.handle.remove(it.token).unwrap();
                on_each(leak(Loop::new(private)), [pause, remove])
            },
        ),
        row(
            "`resume`",
            [Some(&[GETPID, EPOLL_CTL]), Some(&[GETPID, EPOLL_CTL])],
            |it| assert_eq!(it.handle.pause(it.token).unwrap(), None),
            |it| it.handle.resume(it.token).unwrap(),
        ),
        row("`stop`", [Some(&[WRITE]), Some(&[WRITE])], nothing, |it| {
            it.handle.stop().unwrap()
        }),
        Row::each(
            "drop",
            KINDS,
            [
                Some(&[CLOSE, GETPID, EPOLL_CTL]),
                Some(&[CLOSE, GETPID, EPOLL_CTL]),
            ],
            |private| {
                let Loop {
                    dispatcher,
                    handle,
                    notifier,
                    ..
                } = Loop::new(private);
                std::mem::forget(notifier);
                drop(handle);
                take(dispatcher, drop)
            },
        ),
    ]
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers, on any thread.

use std::os::fd::OwnedFd;
use std::time::Duration;

use notify_core::{EventFd, EventNotifier};
use vmm_sys_util::event::{EventConsumer, EventNotifier as Writer};

use crate::call::*;
use crate::row::{Calls, Row, Section, Thread, give, leak, on, on_each, take, with};

/// Private or not.
const KINDS: [bool; 2] = [true, false];
const COLUMNS: [&str; 2] = ["private", "shared"];

const NONE: Calls = Some(&[]);

pub(crate) fn sections() -> Vec<Section> {
    vec![
        Section {
            subject: "notifiers",
            thread: Thread::Device,
            columns: &COLUMNS,
            kvm: false,
            rows: signals(),
        },
        Section {
            subject: "making a notifier",
            thread: Thread::Vmm,
            columns: &[],
            kvm: false,
            rows: conversions(),
        },
    ]
}

fn notifier(private: bool) -> EventNotifier {
    let builder = EventNotifier::builder().private(private);
    builder.build().unwrap()
}

fn row(operation: &'static str, calls: [Calls; 2], act: fn(&'static EventNotifier)) -> Row {
    Row::each(operation, KINDS, calls, move |private| {
        on(leak(notifier(private)), act)
    })
}

fn signals() -> Vec<Row> {
    vec![
        Row::each(
            "`notify`, `try_notify`, `add`",
            KINDS,
            [Some(&[WRITE]), Some(&[WRITE])],
            |private| {
                let notify: fn(&'static EventNotifier) = |it| it.notify().unwrap();
                let try_notify: fn(&'static EventNotifier) = |it| _ = it.try_notify().unwrap();
                let add: fn(&'static EventNotifier) =
                    |it| _ = it.add(2.try_into().unwrap()).unwrap();
                on_each(leak(notifier(private)), [notify, try_notify, add])
            },
        ),
        row("`consume`", [Some(&[READ]), Some(&[PREADV2])], |notifier| {
            notifier.consume().unwrap();
        }),
        row(
            "`wait`",
            [Some(&[READ, PPOLL]), Some(&[PREADV2, PPOLL])],
            |notifier| {
                notifier.wait(Some(Duration::ZERO)).unwrap();
            },
        ),
        row(
            "`is_signalled`",
            [Some(&[PPOLL]), Some(&[PPOLL])],
            |notifier| {
                notifier.is_signalled().unwrap();
            },
        ),
        row(
            "`mode` of one that was made or adopted here",
            [NONE, NONE],
            |notifier| {
                notifier.mode();
            },
        ),
        row("`declare_private`", [NONE, Some(&[F_GETFL])], |notifier| {
            notifier.declare_private().unwrap()
        }),
        row("`declare_shared`, `is_private`", [NONE, NONE], |notifier| {
            notifier.declare_shared();
            assert!(!notifier.is_private());
        }),
        row(
            "`try_clone`",
            [
                Some(&[F_DUPFD_CLOEXEC, MUSL_F_SETFD]),
                Some(&[F_DUPFD_CLOEXEC, MUSL_F_SETFD]),
            ],
            |notifier| std::mem::forget(notifier.try_clone().unwrap()),
        ),
        Row::each("drop", KINDS, [Some(&[CLOSE]), Some(&[CLOSE])], |private| {
            take(notifier(private), drop)
        }),
    ]
}

fn eventfd() -> EventFd {
    EventFd::new(0).unwrap()
}

fn conversions() -> Vec<Row> {
    vec![
        Row::new("`new`, `builder`", &[EVENTFD2], || {
            with(&(), || std::mem::forget(EventNotifier::new().unwrap()))
        }),
        Row::new("`From<EventFd>`, `From<Arc<EventFd>>`", &[], || {
            take(eventfd(), |eventfd| {
                std::mem::forget(EventNotifier::from(eventfd))
            })
        }),
        Row::new(
            "`TryFrom<&EventFd>`",
            &[F_DUPFD_CLOEXEC, MUSL_F_SETFD],
            || {
                on(leak(eventfd()), |eventfd| {
                    std::mem::forget(EventNotifier::try_from(eventfd).unwrap());
                })
            },
        ),
        Row::new(
            "`mode` of one that was converted, the first time",
            &[READ, CLOSE, MUSL_F_SETFD, OPENAT, STATX],
            || {
                on(leak(EventNotifier::from(eventfd())), |notifier| {
                    notifier.mode();
                })
            },
        ),
        Row::new(
            "`declare_private` of one whose flag is not set",
            &[F_GETFL, F_SETFL],
            || {
                on(leak(EventNotifier::from(eventfd())), |notifier| {
                    notifier.declare_private().unwrap();
                })
            },
        ),
        Row::new(
            "`adopt`",
            &[
                READ, PREADV2, WRITEV, CLOSE, F_GETFL, F_SETFL, F_SETFD, NEWFSTATAT, OPENAT, STATX,
            ],
            || {
                let fd = OwnedFd::try_from(notifier(false)).unwrap();
                give(fd, EventNotifier::adopt)
            },
        ),
        Row::new(
            "`adopt_borrowed`",
            &[
                READ,
                PREADV2,
                WRITEV,
                CLOSE,
                F_DUPFD_CLOEXEC,
                F_GETFL,
                F_SETFL,
                F_SETFD,
                NEWFSTATAT,
                OPENAT,
                STATX,
            ],
            || {
                on(leak(eventfd()), |eventfd| {
                    std::mem::forget(EventNotifier::adopt_borrowed(eventfd).unwrap());
                })
            },
        ),
        Row::new(
            "`try_from` of a consumer and a notifier",
            &[
                READ, PREADV2, WRITEV, CLOSE, F_GETFL, F_SETFL, F_SETFD, NEWFSTATAT, OPENAT, STATX,
                KCMP, GETPID,
            ],
            || {
                let halves: (EventConsumer, Writer) = notifier(false).try_into().unwrap();
                give(halves, EventNotifier::try_from)
            },
        ),
        Row::new("into `OwnedFd`, into `EventFd`", &[], || {
            take(notifier(false), |notifier| {
                std::mem::forget(OwnedFd::try_from(notifier).unwrap());
            })
        }),
    ]
}

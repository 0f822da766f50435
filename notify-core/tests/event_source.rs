// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Notifiers in a mio loop of the VMM.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use notify_core::EventNotifier;

#[track_caller]
fn expect_event(poll: &mut Poll, token: Option<usize>) {
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    let seen: Vec<_> = events.iter().map(mio::event::Event::token).collect();
    assert_eq!(seen, Vec::from_iter(token.map(Token)));
}

#[test]
fn registered_by_reference_and_by_value() {
    let mut poll = Poll::new().unwrap();
    let mut notifier = EventNotifier::new().unwrap();
    let registry = poll.registry().try_clone().unwrap();
    for by_reference in [true, false] {
        let (first, second) = if by_reference { (1, 2) } else { (3, 4) };
        notifier.notify().unwrap();
        if by_reference {
            registry
                .register(&mut &notifier, Token(first), Interest::READABLE)
                .unwrap();
        } else {
            registry
                .register(&mut notifier, Token(first), Interest::READABLE)
                .unwrap();
        }
        expect_event(&mut poll, Some(first));
        expect_event(&mut poll, None);
        notifier.notify().unwrap();
        expect_event(&mut poll, Some(first));
        let mut shared = &notifier;
        if by_reference {
            registry
                .reregister(&mut shared, Token(second), Interest::READABLE)
                .unwrap();
        } else {
            registry
                .reregister(&mut notifier, Token(second), Interest::READABLE)
                .unwrap();
        }
        expect_event(&mut poll, Some(second));
        assert_eq!(notifier.consume().unwrap().map(u64::from), Some(2));
        if by_reference {
            registry.deregister(&mut &notifier).unwrap();
        } else {
            registry.deregister(&mut notifier).unwrap();
        }
        notifier.notify().unwrap();
        expect_event(&mut poll, None);
        notifier.consume().unwrap();
    }
}

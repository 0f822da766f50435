// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A dispatcher that has warmed up allocates nothing for an event, and frees what it allocated.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use notify_core::EventNotifier;
use notify_core::dispatcher::{Dispatcher, Handler, HandlerError, PollHandler, Progress, Turn};

struct Device(u32);

impl Handler for Device {
    fn handle(&mut self, _: NonZeroU64) -> Result<(), HandlerError> {
        Ok(())
    }
}

impl PollHandler for Device {
    fn poll(&mut self) -> Progress {
        self.0 += 1;
        match self.0 % 3 {
            0 => Progress::Made,
            _ => Progress::None,
        }
    }
}

/// One test only, as it counts the file descriptors of the process.
#[test]
fn a_warm_dispatcher_allocates_nothing_and_gives_everything_back() {
    let fds = kvm_test::open_fds().unwrap();
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    assert_eq!(kvm_test::open_fds().unwrap(), fds + 3, "as is documented");
    let plain: Vec<_> = (0..20)
        .map(|number| {
            let builder = EventNotifier::builder().semaphore(number % 2 == 0);
            Arc::new(builder.build().unwrap())
        })
        .collect();
    let polled: Vec<_> = (0..20)
        .map(|_| Arc::new(EventNotifier::new().unwrap()))
        .collect();
    let mut tokens: Vec<_> = plain
        .iter()
        .map(|notifier| handle.add(Arc::clone(notifier), |_| Ok(())).unwrap())
        .collect();
    let readable = Arc::new(EventNotifier::builder().initial(1).build().unwrap());
    tokens.push(handle.add_fd(Arc::clone(&readable), |_| Ok(())).unwrap());
    let round = || {
        for notifier in plain.iter().chain(&polled) {
            notifier.notify().unwrap();
        }
        for _ in 0..10 {
            dispatcher.run_once(Some(Duration::ZERO)).unwrap();
        }
    };
    let count = |what: &str| {
        (0..3).for_each(|_| round());
        let counted = allocation_counter::measure(|| (0..50).for_each(|_| round()));
        assert_eq!(counted.count_total, 0, "{what}");
    };
    count("without polling");
    for notifier in &polled {
        tokens.push(handle.add_polled(Arc::clone(notifier), Device(0)).unwrap());
    }
    count("with polling");
    let pausing = || {
        for token in &tokens {
            handle.pause(*token).unwrap();
            handle.resume(*token).unwrap();
        }
    };
    pausing();
    let counted = allocation_counter::measure(pausing);
    assert_eq!(counted.count_total, 0, "pausing and resuming");
    assert!(matches!(
        dispatcher.run_once(Some(Duration::ZERO)).unwrap(),
        Turn::Worked(_) | Turn::TimedOut
    ));

    let open = kvm_test::open_fds().unwrap();
    for token in tokens.drain(..) {
        handle.remove(token).unwrap();
    }
    assert_eq!(kvm_test::open_fds().unwrap(), open, "notifiers are shared");
    drop((plain, polled, readable));
    assert_eq!(kvm_test::open_fds().unwrap(), fds + 3);
    drop(dispatcher);
    drop(handle);
    assert_eq!(kvm_test::open_fds().unwrap(), fds);

    let witness = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(witness.count_total, 1, "the counter counts");
}

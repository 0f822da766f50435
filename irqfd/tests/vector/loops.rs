// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A queue in the event loops of VMMs.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use event_manager::{EventManager, EventOps, EventSet, MutEventSubscriber, SubscriberOps};
use irqfd::ArmQueue;
use kvm_test::PATIENCE;
use mio::{Events, Interest, Poll, Token};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use notify_core::dispatcher::{Dispatcher, Turn};
use notify_sim::CallKind;

use tokio::io::unix::AsyncFd;

use super::{queued, table};

#[test]
fn a_dispatcher_runs_a_queue() {
    let (vm, table) = table();
    let queue = Arc::new(ArmQueue::new(&table).unwrap());
    let vectors: Vec<_> = (0..64).map(|n| queued(&queue, &table, 0x40 + n)).collect();
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (own, armed) = (Arc::clone(&queue), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&armed);
    let add = handle.add_fd(Arc::clone(&queue), move |_| {
        count.fetch_add(own.run_pending().armed, Ordering::SeqCst);
        Ok(())
    });
    let token = add.unwrap();
    let turn = || dispatcher.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(turn(), Turn::TimedOut, "nothing waits");
    for round in 1..=3 {
        for (vector, _) in &vectors {
            vector.unmask().unwrap();
        }
        assert_eq!((turn(), turn()), (Turn::Worked(1), Turn::TimedOut));
        assert_eq!(armed.load(Ordering::SeqCst), 64 * round);
        vectors.iter().for_each(|(vector, _)| vector.mask());
    }

    // While it is paused nothing is armed, and nothing is lost.
    assert_eq!(handle.pause(token).unwrap(), None);
    vectors[0].0.unmask().unwrap();
    assert_eq!(turn(), Turn::TimedOut);
    assert_eq!(queue.waiting(), 1);
    handle.resume(token).unwrap();
    assert_eq!((turn(), turn()), (Turn::Worked(1), Turn::TimedOut));
    vectors[0].0.trigger().unwrap();
    vm.expect(&[0x40]);
    assert_eq!(handle.remove(token).unwrap(), None);
    assert_eq!(Arc::strong_count(&queue), 1);
}

#[test]
fn a_mio_loop_runs_a_queue() {
    let (_, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    assert_eq!(queue.as_raw_fd(), queue.as_fd().as_raw_fd());
    let (vector, _) = queued(&queue, &table, 0x40);
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    let registry = poll.registry().try_clone().unwrap();
    registry
        .register(&mut &queue, Token(3), Interest::READABLE)
        .unwrap();
    let mut ready = || {
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        let tokens = events.iter().map(|event| event.token().0);
        tokens.collect::<Vec<_>>()
    };
    assert!(ready().is_empty());
    for _ in 0..3 {
        vector.unmask().unwrap();
        assert_eq!(ready(), [3]);
        assert_eq!(queue.run_pending().armed, 1);
        assert!(ready().is_empty());
        vector.mask();
    }
    registry
        .reregister(&mut &queue, Token(4), Interest::READABLE)
        .unwrap();
    vector.unmask().unwrap();
    assert_eq!(ready(), [4]);
    registry.deregister(&mut &queue).unwrap();
    vector.mask();
    vector.unmask().unwrap();
    assert!(ready().is_empty());
}

/// A queue's owner for event-manager.
struct Owner {
    queue: Arc<ArmQueue>,
    armed: usize,
}

impl MutEventSubscriber for Owner {
    fn init(&mut self, ops: &mut EventOps) {
        ops.add(event_manager::Events::new(&*self.queue, EventSet::IN))
            .unwrap();
    }

    fn process(&mut self, _: event_manager::Events, _: &mut EventOps) {
        self.armed += self.queue.run_pending().armed;
    }
}

#[test]
fn an_event_manager_runs_a_queue() {
    let (_, table) = table();
    let queue = Arc::new(ArmQueue::new(&table).unwrap());
    let vectors: Vec<_> = (0..3).map(|n| queued(&queue, &table, 0x40 + n)).collect();
    let mut manager = EventManager::new().unwrap();
    let owner = manager.add_subscriber(Owner {
        queue: Arc::clone(&queue),
        armed: 0,
    });
    for _ in 0..2 {
        for (vector, _) in &vectors {
            vector.unmask().unwrap();
        }
        assert_eq!(manager.run_with_timeout(0).unwrap(), 1);
        assert_eq!(manager.run_with_timeout(0).unwrap(), 0);
        vectors.iter().for_each(|(vector, _)| vector.mask());
    }
    assert_eq!(manager.remove_subscriber(owner).unwrap().armed, 6);
}

#[test]
#[allow(deprecated, reason = "its successor is unsafe code, and newer")]
fn a_tokio_task_runs_a_queue() {
    let (_, table) = table();
    let queue = Arc::new(ArmQueue::new(&table).unwrap());
    let (vector, _) = queued(&queue, &table, 0x40);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_io().build().unwrap();
    runtime.block_on(async {
        let queue = AsyncFd::with_interest(queue, tokio::io::Interest::READABLE).unwrap();
        for _ in 0..3 {
            vector.unmask().unwrap();
            let mut ready = queue.readable().await.unwrap();
            assert_eq!(queue.get_ref().run_pending().armed, 1);
            ready.clear_ready();
            vector.mask();
        }
    });
}

#[test]
fn an_epoll_instance_that_watches_a_queue() {
    let (_, table) = table();
    let queue = ArmQueue::new(&table).unwrap();
    let (vector, _) = queued(&queue, &table, 0x40);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll
        .add(&queue, EpollEvent::new(EpollFlags::EPOLLIN, 7))
        .unwrap();
    let mut events = [EpollEvent::empty(); 4];
    let mut ready = || epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
    assert_eq!(ready(), 0);
    vector.unmask().unwrap();
    assert_eq!((ready(), ready()), (1, 1), "until it is run");
    assert_eq!(queue.run_pending().armed, 1);
    assert_eq!(ready(), 0);
}

/// The kernel is short of memory for a while. The queue's timer is a call of the handler, too.
#[test]
fn a_dispatcher_is_called_for_each_retry() {
    let (vm, table) = table();
    let queue = Arc::new(ArmQueue::new(&table).unwrap());
    let (vector, notifier) = queued(&queue, &table, 0x40);
    let dispatcher = Dispatcher::new().unwrap();
    let (own, stop) = (Arc::clone(&queue), dispatcher.handle());
    let (sim, mut failures) = (Arc::clone(&vm), 0);
    let add = dispatcher.handle().add_fd(Arc::clone(&queue), move |_| {
        let round = own.run_pending();
        failures += round.failed.len();
        if failures < 3 {
            sim.sim.fail(CallKind::SetGsiRouting, 1, libc::ENOMEM);
        }
        match round.armed {
            0 => assert_eq!(round.failed.len(), 1, "no call without need"),
            _ => stop.stop()?,
        }
        Ok(())
    });
    add.unwrap();
    notifier.notify().unwrap();
    vm.sim.fail(CallKind::SetGsiRouting, 1, libc::ENOMEM);
    vector.unmask().unwrap();
    while dispatcher.run_once(Some(PATIENCE)).unwrap() == Turn::Worked(1) {}
    vm.expect(&[0x40]);
}

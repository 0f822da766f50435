// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Handlers of file descriptors other than notifiers.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use notify_core::dispatcher::{
    Dispatcher, DispatcherHandle, Error, Failure, Readiness, Reason, Token, Turn,
};

use crate::ring::{dispatcher, eager, open_window, ring};
use crate::support::{
    PATIENCE, counted, expect_quiet_after, notifier, run, some, wait_until, while_it_runs,
};

/// A socket that the dispatcher watches, and its peer.
fn pair() -> (Arc<UnixStream>, UnixStream) {
    let (ours, peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Arc::new(ours), peer)
}

/// Adds a handler that reads one byte at a time, and reports it with the readiness.
fn reading(
    handle: &DispatcherHandle,
    socket: &Arc<UnixStream>,
) -> (Token, Receiver<(Readiness, Option<u8>)>) {
    let (told, calls) = channel();
    let own = Arc::clone(socket);
    let add = handle.add_fd(Arc::clone(socket), move |ready| {
        let mut byte = [0];
        let len = (&*own).read(&mut byte)?;
        told.send((ready, (len > 0).then_some(byte[0])))?;
        Ok(())
    });
    (add.unwrap(), calls)
}

/// The bytes of all calls so far.
fn bytes(calls: &Receiver<(Readiness, Option<u8>)>) -> Vec<u8> {
    calls.try_iter().filter_map(|(_, byte)| byte).collect()
}

#[test]
fn a_handler_that_reads_a_part_is_called_for_the_rest() {
    let dispatcher = Dispatcher::new().unwrap();
    let (socket, mut peer) = pair();
    let (_, calls) = reading(&dispatcher.handle(), &socket);
    expect_quiet_after(&dispatcher, 0);
    peer.write_all(&[1, 2, 3]).unwrap();
    expect_quiet_after(&dispatcher, 3);
    assert_eq!(bytes(&calls), [1, 2, 3]);
    peer.write_all(&[4]).unwrap();
    expect_quiet_after(&dispatcher, 1);
    let (ready, byte) = calls.try_recv().unwrap();
    assert_eq!(byte, Some(4));
    assert!(ready.is_readable() && !ready.is_hung_up() && !ready.is_error());
}

/// As any loop that blocks finds it, not only a loop that looks again at once.
#[test]
fn what_was_there_before_and_what_comes_while_it_blocks() {
    let dispatcher = Dispatcher::new().unwrap();
    let (socket, mut peer) = pair();
    peer.write_all(&[1, 2]).unwrap();
    let (_, calls) = reading(&dispatcher.handle(), &socket);
    while_it_runs(&dispatcher, |_| {
        for expected in 1..=20 {
            let (_, byte) = calls.recv_timeout(PATIENCE).unwrap();
            assert_eq!(byte, Some(expected));
            peer.write_all(&[expected + 2]).unwrap();
        }
    });
}

/// A hang-up is no end by itself: data may be left, and only the handler's code knows what to do.
#[test]
fn a_peer_that_closes_is_reported_until_the_handler_is_removed() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (socket, mut peer) = pair();
    let (token, calls) = reading(&handle, &socket);
    peer.write_all(&[1]).unwrap();
    drop(peer);
    for expected in [Some(1), None, None] {
        let turn = dispatcher.run_once(Some(Duration::ZERO)).unwrap();
        assert_eq!(turn, Turn::Worked(1));
        let (ready, byte) = calls.try_recv().unwrap();
        assert_eq!(byte, expected);
        assert!(ready.is_readable() && ready.is_hung_up(), "{ready:?}");
    }
    assert_eq!(handle.remove(token).unwrap(), None);
    expect_quiet_after(&dispatcher, 0);
}

#[test]
fn a_peer_that_closes_with_our_data_unread_is_an_error() {
    let dispatcher = Dispatcher::new().unwrap();
    let (socket, peer) = pair();
    let seen = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&seen);
    let add = dispatcher
        .handle()
        .add_fd(Arc::clone(&socket), move |ready| {
            *noted.lock().unwrap() = Some(ready);
            Err("the peer is gone".into())
        });
    add.unwrap();
    (&*socket).write_all(&[1]).unwrap();
    drop(peer);
    expect_quiet_after(&dispatcher, 1);
    let ready = seen.lock().unwrap().unwrap();
    assert!(ready.is_hung_up() && ready.is_error(), "{ready:?}");
}

#[test]
fn a_pipe_whose_writer_is_gone_has_hung_up_with_nothing_to_read() {
    let dispatcher = Dispatcher::new().unwrap();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let reader: Arc<OwnedFd> = Arc::new(reader);
    let (told, calls) = channel();
    let handle = dispatcher.handle();
    let (own, name) = (handle.clone(), Arc::new(Mutex::new(None)));
    let token = Arc::clone(&name);
    let add = handle.add_fd(Arc::clone(&reader), move |ready| {
        told.send(ready)?;
        let token = token.lock().unwrap().unwrap();
        assert_eq!(own.remove(token)?, None);
        Ok(())
    });
    *name.lock().unwrap() = Some(add.unwrap());
    expect_quiet_after(&dispatcher, 0);
    drop(writer);
    expect_quiet_after(&dispatcher, 1);
    let ready = calls.try_recv().unwrap();
    assert!(ready.is_hung_up() && !ready.is_readable(), "{ready:?}");
    assert_eq!(Arc::strong_count(&reader), 1, "it was the last call");
}

#[test]
fn a_timer_is_called_once_for_each_expiration_that_is_read() {
    let dispatcher = Dispatcher::new().unwrap();
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).unwrap();
    let timer = Arc::new(timer);
    let (own, handle) = (Arc::clone(&timer), dispatcher.handle());
    let (stop, mut calls) = (handle.clone(), 0);
    let add = handle.add_fd(Arc::clone(&timer), move |ready| {
        assert!(ready.is_readable());
        let mut expirations = [0; 8];
        let len = nix::unistd::read(&*own, &mut expirations)?;
        assert_eq!((len, u64::from_ne_bytes(expirations)), (8, 1));
        calls += 1;
        match calls {
            3 => stop.stop()?,
            _ => arm(&own),
        }
        Ok(())
    });
    add.unwrap();
    expect_quiet_after(&dispatcher, 0);
    arm(&timer);
    run(&dispatcher);
    expect_quiet_after(&dispatcher, 0);
}

fn arm(timer: &TimerFd) {
    let soon = Expiration::OneShot(TimeSpec::from_duration(Duration::from_micros(10)));
    timer.set(soon, TimerSetTimeFlags::empty()).unwrap();
}

/// It is called once a turn, and the others are called as often.
#[test]
fn one_that_is_always_readable_starves_nobody() {
    let dispatcher = Dispatcher::builder().calls_per_turn(2).build().unwrap();
    let handle = dispatcher.handle();
    let calls: Vec<_> = (0..3).map(|_| Arc::new(Mutex::new(0))).collect();
    let sockets: Vec<_> = (0..3).map(|_| pair()).collect();
    for ((socket, peer), calls) in sockets.iter().zip(&calls) {
        let (mut peer, calls) = (peer, Arc::clone(calls));
        peer.write_all(&[1]).unwrap();
        let counting = move |_| {
            *calls.lock().unwrap() += 1;
            Ok(())
        };
        handle.add_fd(Arc::clone(socket), counting).unwrap();
    }
    let kick = notifier();
    let (_, kicks) = counted(&handle, &kick);
    for turn in 1..=60 {
        kick.notify().unwrap();
        assert_eq!(
            dispatcher.run_once(Some(Duration::ZERO)).unwrap(),
            Turn::Worked(2)
        );
        let calls: Vec<u64> = calls.iter().map(|calls| *calls.lock().unwrap()).collect();
        let least = calls.iter().min().unwrap().min(&kicks.calls()).to_owned();
        let most = calls.iter().max().unwrap().max(&kicks.calls()).to_owned();
        assert!(
            most - least <= 1,
            "turn {turn}: {calls:?}, {}",
            kicks.calls()
        );
    }
}

/// Between its calls other handlers are polled, and their kicks stay suppressed.
#[test]
fn one_that_is_always_readable_beside_one_that_is_polled() {
    let dispatcher = dispatcher(eager());
    let (ring, kick, _) = ring(&dispatcher);
    open_window(&dispatcher, &ring, &kick);
    let (socket, mut peer) = pair();
    let calls = Arc::new(AtomicU64::new(0));
    let called = Arc::clone(&calls);
    let counting = move |_| {
        called.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    dispatcher
        .handle()
        .add_fd(Arc::clone(&socket), counting)
        .unwrap();
    peer.write_all(&[1]).unwrap();
    let told = ring.get(|ring| &ring.told);
    while_it_runs(&dispatcher, |_| {
        for _ in 0..20 {
            wait_until(|| ring.suppressed.load(Ordering::SeqCst));
            let added = ring.added.fetch_add(1, Ordering::SeqCst) + 1;
            wait_until(|| ring.get(|ring| &ring.served) == added);
            let before = calls.load(Ordering::SeqCst);
            wait_until(|| calls.load(Ordering::SeqCst) > before);
        }
    });
    assert_eq!(ring.get(|ring| &ring.told), told, "no signal took part");
}

#[test]
fn a_paused_one_is_not_called_and_keeps_what_was_not_read() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (socket, mut peer) = pair();
    let (token, calls) = reading(&handle, &socket);
    peer.write_all(&[1, 2]).unwrap();
    assert_eq!(handle.pause(token).unwrap(), None, "nothing is handed back");
    expect_quiet_after(&dispatcher, 0);
    peer.write_all(&[3]).unwrap();
    expect_quiet_after(&dispatcher, 0);
    handle.resume(token).unwrap();
    expect_quiet_after(&dispatcher, 3);
    assert_eq!(bytes(&calls), [1, 2, 3]);
}

/// The kernel's report is from before the pause, and the pausing thread has read since.
#[test]
fn a_report_from_before_a_pause_causes_no_call_after_it() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (first, (socket, mut peer)) = (notifier(), pair());
    let name = Arc::new(Mutex::new(None));
    let (inner, token, own) = (handle.clone(), Arc::clone(&name), Arc::clone(&socket));
    let pausing = move |_| {
        let token = token.lock().unwrap().unwrap();
        inner.pause(token)?;
        assert_eq!((&*own).read(&mut [0; 8])?, 1);
        inner.resume(token)?;
        Ok(())
    };
    handle.add(Arc::clone(&first), pausing).unwrap();
    let (token, calls) = reading(&handle, &socket);
    *name.lock().unwrap() = Some(token);
    first.notify().unwrap();
    peer.write_all(&[1]).unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert!(calls.try_recv().is_err(), "there was nothing to read");
    peer.write_all(&[2]).unwrap();
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(bytes(&calls), [2]);
}

#[test]
fn a_running_call_is_waited_for() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (socket, mut peer) = pair();
    peer.write_all(&[1]).unwrap();
    let (began, begun) = channel();
    let (go, gate) = channel::<()>();
    let done = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&done);
    let add = handle.add_fd(Arc::clone(&socket), move |_| {
        began.send(())?;
        // Ends when the removal waits for this call, or a little earlier.
        let _ = gate.recv_timeout(Duration::from_millis(20));
        told.store(true, Ordering::SeqCst);
        Ok(())
    });
    let token = add.unwrap();
    while_it_runs(&dispatcher, |handle| {
        begun.recv_timeout(PATIENCE).unwrap();
        assert_eq!(handle.remove(token).unwrap(), None);
        assert!(done.load(Ordering::SeqCst), "it was still running");
        assert_eq!(Arc::strong_count(&done), 1, "it is dropped");
        begun.try_iter().for_each(drop);
        assert!(begun.try_recv().is_err());
    });
    drop(go);
    assert_eq!(Arc::strong_count(&socket), 1);
}

/// Threads that pause and resume while bytes come: each byte is read once, and none is left.
#[test]
fn pauses_lose_no_byte() {
    const BYTES: usize = 3000;
    let dispatcher = Dispatcher::new().unwrap();
    let (socket, mut peer) = pair();
    let (token, calls) = reading(&dispatcher.handle(), &socket);
    while_it_runs(&dispatcher, |handle| {
        thread::scope(|scope| {
            let writer = scope.spawn(move || {
                (0..BYTES).for_each(|number| peer.write_all(&[number as u8]).unwrap());
                peer
            });
            while !writer.is_finished() {
                handle.pause(token).unwrap();
                handle.resume(token).unwrap();
            }
            let _peer = writer.join().unwrap();
            for number in 0..BYTES {
                let (_, byte) = calls.recv_timeout(PATIENCE).unwrap();
                assert_eq!(byte, Some(number as u8));
            }
        });
    });
}

#[test]
fn an_error_and_a_panic_are_failures() {
    let (told, failures) = channel::<Failure>();
    let builder = Dispatcher::builder().on_failure(move |failure| told.send(failure).unwrap());
    let dispatcher = builder.build().unwrap();
    let handle = dispatcher.handle();
    let [(first, mut peer), (second, mut other)] = [pair(), pair()];
    let add = handle.add_fd(Arc::clone(&first), |_| Err("no protocol".into()));
    let error = add.unwrap();
    let add = handle.add_fd(Arc::clone(&second), |_| panic!("no protocol {}", 7));
    add.unwrap();
    peer.write_all(&[1]).unwrap();
    other.write_all(&[1]).unwrap();
    expect_quiet_after(&dispatcher, 1);
    let mut failures: Vec<_> = failures.try_iter().collect();
    failures.sort_by_key(|failure| failure.token != error);
    assert_eq!(failures.len(), 2);
    for failure in &failures {
        assert!(failure.notifier.is_none());
        assert_eq!((failure.signalled, failure.pending), (None, None));
    }
    assert!(matches!(failures[0].reason, Reason::Error(_)));
    assert_eq!(failures[1].reason.to_string(), "panicked: no protocol 7");
    assert!(matches!(handle.remove(error), Err(Error::NoHandler { .. })));
    for socket in [&first, &second] {
        assert_eq!(Arc::strong_count(socket), 1);
    }
    // What the first handler did not read is there for another handler.
    let (_, calls) = reading(&handle, &first);
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(bytes(&calls), [1]);
}

#[test]
fn the_drop_of_the_dispatcher_lets_go_of_the_descriptor() {
    let dispatcher = Dispatcher::new().unwrap();
    let (socket, mut peer) = pair();
    let (_, calls) = reading(&dispatcher.handle(), &socket);
    peer.write_all(&[1]).unwrap();
    drop(dispatcher);
    assert_eq!(Arc::strong_count(&socket), 1);
    assert!(calls.recv().is_err(), "the handler is dropped, uncalled");
    assert_eq!((&*socket).read(&mut [0; 8]).unwrap(), 1);
}

/// The dispatcher may be the last owner of the descriptor.
#[test]
fn a_descriptor_is_held_and_its_drop_may_panic() {
    struct Fragile(UnixStream, Arc<AtomicBool>);
    impl AsFd for Fragile {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl Drop for Fragile {
        fn drop(&mut self) {
            self.1.store(true, Ordering::SeqCst);
            panic!("fragile");
        }
    }
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let dropped = Arc::new(AtomicBool::new(false));
    let source = Arc::new(Fragile(ours, Arc::clone(&dropped)));
    let add = handle.add_fd(Arc::clone(&source), |_| Err("no protocol".into()));
    add.unwrap();
    drop(source);
    assert!(!dropped.load(Ordering::SeqCst));
    peer.write_all(&[1]).unwrap();
    // The panic unwinds through no other code.
    expect_quiet_after(&dispatcher, 1);
    assert!(dropped.load(Ordering::SeqCst));
}

#[test]
fn what_cannot_be_watched_is_refused_with_the_reason() {
    let dispatcher = Dispatcher::new().unwrap();
    let handle = dispatcher.handle();
    let file = Arc::new(File::open("/proc/self/exe").unwrap());
    let refused = handle
        .add_fd(Arc::clone(&file), |_| Ok(()))
        .unwrap_err()
        .error;
    let Error::Watch { cause, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(cause.kind(), ErrorKind::PermissionDenied);
    assert_eq!(Arc::strong_count(&file), 1);

    let (socket, _peer) = pair();
    let (token, _) = reading(&handle, &socket);
    let refused = handle
        .add_fd(Arc::clone(&socket), |_| Ok(()))
        .unwrap_err()
        .error;
    assert!(matches!(refused, Error::AlreadyAdded { .. }), "{refused:?}");
    handle.remove(token).unwrap();
    handle.add_fd(Arc::clone(&socket), |_| Ok(())).unwrap();
    drop(dispatcher);
    let refused = handle
        .add_fd(Arc::clone(&socket), |_| Ok(()))
        .unwrap_err()
        .error;
    assert!(matches!(refused, Error::Gone), "{refused:?}");
}

/// The dispatcher reads nothing: a notifier that is added as a descriptor keeps its count.
#[test]
fn a_notifier_whose_handler_takes_the_counter_itself() {
    let dispatcher = Dispatcher::new().unwrap();
    let (kick, taken) = (notifier(), Arc::new(Mutex::new(None)));
    let (own, noted) = (Arc::clone(&kick), Arc::clone(&taken));
    let add = dispatcher.handle().add_fd(Arc::clone(&kick), move |_| {
        *noted.lock().unwrap() = own.consume()?;
        Ok(())
    });
    let token = add.unwrap();
    (0..3).for_each(|_| kick.notify().unwrap());
    expect_quiet_after(&dispatcher, 1);
    assert_eq!(*taken.lock().unwrap(), some(3));
    (0..2).for_each(|_| kick.notify().unwrap());
    assert_eq!(dispatcher.handle().remove(token).unwrap(), None);
    assert_eq!(kick.consume().unwrap(), some(2));
}

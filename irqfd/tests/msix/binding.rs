// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which vector a queue uses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use irqfd::Triggered;
use irqfd::msix::{BindCallError, Binding, NO_VECTOR, Table};
use kvm_test::{PATIENCE, refuse};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use notify_core::EventNotifier;
use vmm_sys_util::eventfd::EventFd;

use super::{Bench, pending, program, set_mask, vector};

#[test]
fn numbers_that_the_table_does_not_have_bind_to_none() {
    let bench = Bench::new();
    let table = bench.table(3);
    let queue = Binding::new(&table);
    assert_eq!(queue.number(), NO_VECTOR);
    for number in [3, 4, 2048, 0xfffe, NO_VECTOR] {
        assert_eq!(queue.bind(2), 2);
        assert_eq!(queue.bind(number), NO_VECTOR);
        assert_eq!(queue.number(), NO_VECTOR);
        assert_eq!(queue.number(), NO_VECTOR);
        assert_eq!(queue.trigger().unwrap(), None);
    }
    assert_eq!(pending(&table, 0), 0, "no vector was triggered");
}

#[test]
fn triggers_follow_the_binding() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    for number in 0..2 {
        program(&table, number, 0x40 + number as u32);
        set_mask(&table, number, false);
    }
    let (rx, tx) = (Binding::new(&table), Binding::new(&table));
    rx.bind(0);
    tx.bind(1);
    assert_eq!(rx.trigger().unwrap(), Some(Triggered::Delivered));
    bench.expect(&[0x40]);
    // Two queues may share a vector.
    assert_eq!(rx.bind(1), 1);
    rx.trigger().unwrap();
    bench.expect(&[0x41]);
    tx.trigger().unwrap();
    bench.expect(&[0x41]);
    drop(table);
    assert_eq!(tx.trigger().unwrap(), Some(Triggered::Delivered));
}

/// Stands for a back-end: it signals the call that it was given last.
#[derive(Debug)]
struct Backend(Mutex<Arc<EventNotifier>>);

impl Backend {
    /// One that starts with the call that the queue has.
    fn start(queue: &Binding) -> Self {
        Self(Mutex::new(queue.call().unwrap()))
    }

    /// VHOST_SET_VRING_CALL, which waits while the back-end signals.
    fn set_call(&self, call: &Arc<EventNotifier>) -> Result<(), Refused> {
        *self.0.lock().unwrap() = Arc::clone(call);
        Ok(())
    }

    fn signal(&self) {
        self.0.lock().unwrap().notify().unwrap();
    }

    fn has(&self, call: &Arc<EventNotifier>) -> bool {
        Arc::ptr_eq(&self.0.lock().unwrap(), call)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("refused")]
struct Refused;

/// The operation if no back-end runs.
fn idle(_: &Arc<EventNotifier>) -> Result<(), Refused> {
    Ok(())
}

/// A table whose entries send 0x40 and so on, and are masked; and a queue with a back-end, on the
/// first of them.
fn served(bench: &Bench, vectors: usize) -> (Table, Binding, Backend) {
    let table = bench.enabled(vectors);
    for number in 0..vectors as u64 {
        program(&table, number, 0x40 + number as u32);
    }
    let queue = Binding::new(&table);
    assert_eq!(queue.bind(0), 0);
    let backend = Backend::start(&queue);
    (table, queue, backend)
}

#[track_caller]
fn bind_call(queue: &Binding, number: u16, backend: &Backend) {
    let bound = queue.bind_call(number, |call| backend.set_call(call));
    assert_eq!(bound.unwrap(), number);
    assert_eq!(queue.number(), number);
    assert!(backend.has(&queue.call().unwrap()));
}

#[test]
fn a_signal_of_a_masked_vector_moves() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    set_mask(&table, 1, false);
    backend.signal();
    assert_eq!(pending(&table, 0), 0b01);
    bind_call(&queue, 1, &backend);
    assert_eq!(pending(&table, 0), 0);
    bench.expect(&[0x41]);
    backend.signal();
    bench.expect(&[0x41]);
    // And back, where it stays pending.
    set_mask(&table, 1, true);
    backend.signal();
    bind_call(&queue, 0, &backend);
    assert_eq!(pending(&table, 0), 0b01);
    set_mask(&table, 1, false);
    bench.expect(&[]);
    set_mask(&table, 0, false);
    bench.expect(&[0x40]);
}

#[test]
fn a_move_without_a_signal_signals_nothing() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    for number in [1, 0, NO_VECTOR, 1] {
        bind_call(&queue, number, &backend);
        assert_eq!(pending(&table, 0), 0);
    }
    set_mask(&table, 1, false);
    bench.expect(&[]);
}

/// An interrupt that KVM has injected is served at the old vector. A count that it left in the
/// notifier is no signal.
#[test]
fn what_an_armed_vector_has_injected_does_not_move() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    set_mask(&table, 1, false);
    backend.signal();
    set_mask(&table, 0, false);
    bench.expect(&[0x40]);
    bind_call(&queue, 1, &backend);
    bench.expect(&[]);
    backend.signal();
    bench.expect(&[0x41]);
    set_mask(&table, 0, true);
    set_mask(&table, 0, false);
    assert_eq!(pending(&table, 0), 0);
    bench.expect(&[]);
}

/// It is not known which of the two queues has signalled.
#[test]
fn a_signal_of_a_shared_vector_is_at_both() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 3);
    let other = Binding::new(&table);
    bind_call(&other, 0, &backend);
    backend.signal();
    let call = queue.bind_call(1, idle);
    assert_eq!(call.unwrap(), 1);
    assert_eq!(pending(&table, 0), 0b011);
    // The other one is alone there now.
    bind_call(&other, 2, &backend);
    assert_eq!(pending(&table, 0), 0b110);
}

#[test]
fn a_queue_is_no_user_of_a_vector_that_it_has_left() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 3);
    let leave: [fn(Binding); 3] = [
        drop,
        |other| assert_eq!(other.bind(NO_VECTOR), NO_VECTOR),
        |other| drop(other.bind_call(2, idle)),
    ];
    for leave in leave {
        let other = Binding::new(&table);
        // Twice, and once in vain, which counts once.
        bind_call(&other, 0, &backend);
        bind_call(&other, 0, &backend);
        other.bind_call(1, |_| Err(Refused)).unwrap_err();
        leave(other);
        backend.signal();
        bind_call(&queue, 1, &backend);
        assert_eq!(pending(&table, 0), 0b010);
        forget_signals(&bench, &table);
        bind_call(&queue, 0, &backend);
    }
    let other = Binding::new(&table);
    other.bind(1);
    drop(other);
    bind_call(&queue, 1, &backend);
    backend.signal();
    bind_call(&queue, 2, &backend);
    assert_eq!(pending(&table, 0), 0b100);
}

/// While a queue moves to a vector, its back-end may already signal there.
#[test]
fn a_queue_that_comes_uses_the_vector() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    let other = Binding::new(&table);
    let set_call = |call: &Arc<EventNotifier>| {
        call.notify().unwrap();
        bind_call(&queue, 1, &backend);
        Ok::<_, Refused>(())
    };
    assert_eq!(other.bind_call(0, set_call).unwrap(), 0);
    assert_eq!(pending(&table, 0), 0b11);
}

#[test]
fn signals_without_a_vector_are_held() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    set_mask(&table, 1, false);
    backend.signal();
    // 2 is not in the table.
    for number in [2, 0x800, NO_VECTOR] {
        let bound = queue.bind_call(number, |call| backend.set_call(call));
        assert_eq!(bound.unwrap(), NO_VECTOR);
        assert!(queue.number() == NO_VECTOR && backend.has(&queue.call().unwrap()));
        assert_eq!(pending(&table, 0), 0);
    }
    bench.expect(&[]);
    bind_call(&queue, 1, &backend);
    bench.expect(&[0x41]);

    bind_call(&queue, NO_VECTOR, &backend);
    let holding = queue.call().unwrap();
    backend.signal();
    backend.signal();
    bench.expect(&[]);
    bind_call(&queue, 0, &backend);
    assert_eq!(pending(&table, 0), 0b01);
    assert!(!holding.is_signalled().unwrap());
    bind_call(&queue, NO_VECTOR, &backend);
    assert!(Arc::ptr_eq(&holding, &queue.call().unwrap()), "it is kept");
    assert!(holding.is_signalled().unwrap());
}

#[test]
fn each_queue_holds_its_own_signals() {
    let bench = Bench::new();
    let table = bench.enabled(2);
    let (rx, tx) = (Binding::new(&table), Binding::new(&table));
    rx.call().unwrap().notify().unwrap();
    assert_eq!(tx.bind_call(1, idle).unwrap(), 1);
    assert_eq!(pending(&table, 0), 0);
    assert_eq!(rx.bind_call(0, idle).unwrap(), 0);
    assert_eq!(pending(&table, 0), 0b01);
}

#[test]
fn a_back_end_that_refuses_changes_nothing() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    backend.signal();
    let old = queue.call().unwrap();
    for number in [1, 7, NO_VECTOR, 0] {
        let error = queue.bind_call(number, |_| Err(Refused)).unwrap_err();
        assert!(
            matches!(&error, BindCallError::SetCall(Refused)),
            "{error:?}"
        );
        assert!(error.to_string().ends_with(": refused"), "{error}");
        assert_eq!(queue.number(), 0);
        assert!(Arc::ptr_eq(&old, &queue.call().unwrap()));
        assert_eq!(pending(&table, 0), 0b01);
    }
    let panics = || queue.bind_call(1, |_| -> Result<(), Refused> { panic!("in the back-end") });
    catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
    assert_eq!((queue.number(), pending(&table, 0)), (0, 0b01));
    bind_call(&queue, 1, &backend);
    assert_eq!(pending(&table, 0), 0b10);
    // The failed one is not used twice.
    bind_call(&queue, 0, &backend);
    assert_eq!(pending(&table, 0), 0b01);
}

/// A back-end that was restarted must get its call.
#[test]
fn a_move_to_the_same_vector_sets_the_call() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 1);
    backend.signal();
    let new = Arc::new(EventNotifier::new().unwrap());
    vector(&table, 0)
        .replace_notifier(Arc::clone(&new))
        .unwrap();
    bind_call(&queue, 0, &backend);
    assert!(backend.has(&new));
    // It is not signalled once more.
    assert_eq!(new.consume().unwrap().map(u64::from), Some(1));
    new.notify().unwrap();
    for number in [NO_VECTOR, NO_VECTOR, 0] {
        bind_call(&queue, number, &backend);
    }
    assert_eq!(pending(&table, 0), 0b01);
}

#[test]
fn the_vectors_are_exported_on_demand() {
    let bench = Bench::new();
    let table = bench.enabled(3);
    let queue = Binding::new(&table);
    queue.bind(0);
    // An internal vector that has kept a trigger.
    queue.trigger().unwrap();
    assert!(vector(&table, 0).notifier().is_none());
    let mut given = None;
    let set_call = |call: &Arc<EventNotifier>| {
        given = Some(Arc::clone(call));
        Ok::<_, Refused>(())
    };
    assert_eq!(queue.bind_call(1, set_call).unwrap(), 1);
    assert!(Arc::ptr_eq(
        &given.unwrap(),
        &vector(&table, 1).notifier().unwrap()
    ));
    assert_eq!(pending(&table, 0), 0b010);
    assert!(vector(&table, 0).notifier().is_none());
    queue.bind(2);
    let call = queue.call().unwrap();
    assert!(Arc::ptr_eq(&call, &vector(&table, 2).notifier().unwrap()));
}

/// A peer has filled the new call, and made it blocking.
#[test]
fn a_full_call_does_not_block_a_move() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    backend.signal();
    let call = vector(&table, 1).export().unwrap();
    let flags = OFlag::from_bits_retain(fcntl(&*call, FcntlArg::F_GETFL).unwrap());
    fcntl(&*call, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK)).unwrap();
    let eventfd: &EventFd = (*call).as_ref();
    eventfd.write(u64::MAX - 1).unwrap();
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        bind_call(&queue, 1, &backend);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(PATIENCE).unwrap();
    assert_eq!(pending(&table, 0), 0b10);
    assert_eq!(call.consume().unwrap().map(u64::from), Some(1));
}

#[test]
fn a_signal_that_moves_to_a_notifier_that_takes_none_is_kept() {
    let bench = Bench::new();
    let (table, queue, backend) = served(&bench, 2);
    backend.signal();
    vector(&table, 1).export().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            refuse(libc::SYS_write, None, libc::EPERM).unwrap();
            bind_call(&queue, 1, &backend);
        });
    });
    assert_eq!(pending(&table, 0), 0b10);
    set_mask(&table, 1, false);
    bench.expect(&[0x41]);
}

/// Two vCPUs write the register at once, while the back-end signals. At the end each signal is at
/// the queue's vector of that moment, or was delivered before.
#[test]
fn two_threads_move_a_queue() {
    for round in 0..500 {
        let bench = Bench::new();
        let (table, queue, backend) = served(&bench, 3);
        thread::scope(|scope| {
            for thread in 0..2_u16 {
                let (queue, backend) = (&queue, &backend);
                scope.spawn(move || {
                    for step in 0..4 {
                        let number = (thread + step) % 4;
                        let bound = queue.bind_call(number, |call| backend.set_call(call));
                        assert_eq!(bound.unwrap(), if number == 3 { NO_VECTOR } else { number });
                    }
                });
            }
            backend.signal();
        });
        let bound = queue.number();
        assert!(
            backend.has(&queue.call().unwrap()),
            "the last call is that of the last vector"
        );
        let call = queue.call().unwrap();
        assert!(call.is_signalled().unwrap(), "lost in round {round}");
        bind_call(&queue, if bound == 0 { 1 } else { 0 }, &backend);
        set_mask(&table, queue.number().into(), false);
        bench.expect(&[0x40 + queue.number() as u8]);
    }
}

/// Delivers what is pending, without waiting.
fn forget_signals(bench: &Bench, table: &Table) {
    for number in 0..table.vectors().len() as u64 {
        set_mask(table, number, false);
        set_mask(table, number, true);
    }
    while bench.vm.take_vector(0).is_some() {
        bench.vm.lapic_eoi(0);
    }
}

/// The two queues of a vector leave it at once: the signal moves with both.
#[test]
fn two_queues_leave_a_vector_at_once() {
    let bench = Bench::new();
    let (table, rx, backend) = served(&bench, 3);
    let tx = Binding::new(&table);
    for round in 0..1000 {
        bind_call(&rx, 0, &backend);
        bind_call(&tx, 0, &backend);
        forget_signals(&bench, &table);
        backend.signal();
        thread::scope(|scope| {
            scope.spawn(|| rx.bind_call(1, idle).unwrap());
            tx.bind_call(2, idle).unwrap();
        });
        assert_eq!(pending(&table, 0), 0b110, "round {round}");
    }
}

/// A back-end signals without pause while the guest moves its queue and masks entries. Each signal
/// first publishes a number: a handler that runs after the last one must see the last number.
#[test]
fn a_storm_loses_no_last_signal() {
    const SIGNALS: u64 = 20;
    for round in 0..500_u64 {
        let bench = Bench::new();
        let (table, queue, backend) = served(&bench, 3);
        let published = AtomicU64::new(0);
        let mut seen = 0;
        let mut handle = || {
            while bench.vm.take_vector(0).is_some() {
                bench.vm.lapic_eoi(0);
                seen = published.load(Ordering::SeqCst);
            }
            seen
        };
        thread::scope(|scope| {
            let device = scope.spawn(|| {
                for number in 1..=SIGNALS {
                    published.store(number, Ordering::SeqCst);
                    backend.signal();
                }
            });
            for step in round.. {
                let entry = step * 7 % 3;
                set_mask(&table, entry, step % 5 < 3);
                let number = [0, 1, NO_VECTOR, 2][(step * 5 % 4) as usize];
                bind_call(&queue, number, &backend);
                handle();
                if device.is_finished() {
                    break;
                }
            }
        });
        bind_call(&queue, 0, &backend);
        (0..3).for_each(|entry| set_mask(&table, entry, false));
        assert_eq!(handle(), SIGNALS, "round {round}");
        assert_eq!(pending(&table, 0), 0);
    }
}

/// A queue leaves a vector that the VMM's own code has triggered: it was never exported, and
/// another queue uses it too.
#[test]
fn what_an_internal_vector_has_kept_moves_and_stays() {
    let bench = Bench::new();
    for private in [false, true] {
        let builder = Table::builder(&bench.routing)
            .vectors(3)
            .private_irqfd(private);
        let table = builder.build().unwrap();
        let _ = table.set_control(true, false);
        let (leaves, stays) = (Binding::new(&table), Binding::new(&table));
        leaves.bind(0);
        stays.bind(0);
        leaves.trigger().unwrap();
        leaves.bind_call(1, idle).unwrap();
        assert_eq!(pending(&table, 0), 0b011);
        stays.bind_call(2, idle).unwrap();
        assert_eq!(pending(&table, 0), 0b110);
    }
}

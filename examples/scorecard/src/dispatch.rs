// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The dispatcher against a bare epoll loop, and with many notifiers against few.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::unistd::read;
use notify_core::EventNotifier;
use notify_core::dispatcher::Dispatcher;

use crate::measure::{Step, alternate, median};
use crate::row::Row;

const SAMPLES: u32 = 20_000;
/// Long enough for the other thread to have blocked.
const REST: Duration = Duration::from_micros(60);

/// Measures from the write on a notifier to the first instruction of its handler, on a blocked
/// thread.
pub(crate) fn ready() -> Result<Row, Box<dyn Error>> {
    let (begin, arrived, stop) = (Instant::now(), AtomicU64::new(0), AtomicBool::new(false));
    let arrived = Arc::new(arrived);
    let arrive = move |arrived: &AtomicU64| {
        arrived.store(nanoseconds(begin), Ordering::Release);
    };
    let dispatcher = Dispatcher::new()?;
    let (ours, others) = (Arc::new(EventNotifier::new()?), EventNotifier::new()?);
    let told = Arc::clone(&arrived);
    let handler = move |_| {
        arrive(&told);
        Ok(())
    };
    dispatcher.handle().add(Arc::clone(&ours), handler)?;

    let mut times = (Vec::new(), Vec::new());
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let by_dispatcher = scope.spawn(|| dispatcher.run());
        let bare = scope.spawn(|| -> nix::Result<()> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            epoll.add(&others, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
            let mut events = [EpollEvent::empty(); 256];
            while !stop.load(Ordering::Relaxed) {
                match epoll.wait(&mut events, EpollTimeout::NONE) {
                    Err(Errno::EINTR) => continue,
                    waited => waited?,
                };
                read(&others, &mut [0; 8])?;
                arrive(&arrived);
            }
            Ok(())
        });
        let sample = |notifier: &EventNotifier| -> Result<f64, Box<dyn Error>> {
            arrived.store(0, Ordering::Release);
            let rest = Instant::now();
            while rest.elapsed() < REST {
                std::hint::spin_loop();
            }
            let start = nanoseconds(begin);
            notifier.notify()?;
            loop {
                match arrived.load(Ordering::Acquire) {
                    0 => std::hint::spin_loop(),
                    end => return Ok(end.saturating_sub(start) as f64),
                }
            }
        };
        for _ in 0..SAMPLES {
            times.0.push(sample(&ours)?);
            times.1.push(sample(&others)?);
        }
        stop.store(true, Ordering::Relaxed);
        others.notify()?;
        dispatcher.handle().stop()?;
        by_dispatcher
            .join()
            .map_err(|_| "the dispatcher panicked")??;
        bare.join().map_err(|_| "the bare loop panicked")??;
        Ok(())
    })?;
    Ok(Row::times(
        "a bare epoll loop",
        median(times.0),
        median(times.1),
        "from a notifier's write to the handler, thread blocked; at most 1.05 is wanted",
    ))
}

/// One of ten thousand notifiers signalled and handled, against one of ten.
pub(crate) fn one_of_10000() -> Result<Row, Box<dyn Error>> {
    let (many, few) = (Registered::new(10_000)?, Registered::new(10)?);
    let (ours_ns, other_ns) = alternate(200, 1000, || many.event(), || few.event())?;
    Ok(Row::times(
        "10 notifiers",
        ours_ns,
        other_ns,
        "10000 notifiers, one of them signalled and handled; at most 1.1 is wanted",
    ))
}

struct Registered {
    dispatcher: Dispatcher,
    active: Arc<EventNotifier>,
    _rest: Vec<Arc<EventNotifier>>,
}

impl Registered {
    fn new(notifiers: usize) -> Result<Self, Box<dyn Error>> {
        let dispatcher = Dispatcher::new()?;
        let notifiers = (0..notifiers).map(|_| {
            let notifier = Arc::new(EventNotifier::new()?);
            dispatcher.handle().add(Arc::clone(&notifier), |_| Ok(()))?;
            Ok(notifier)
        });
        let rest: Vec<_> = notifiers.collect::<Result<_, Box<dyn Error>>>()?;
        let active = rest.get(rest.len() / 2).ok_or("no notifier")?;
        Ok(Self {
            active: Arc::clone(active),
            dispatcher,
            _rest: rest,
        })
    }

    fn event(&self) -> Step {
        self.active.notify()?;
        self.dispatcher.run_once(None)?;
        Ok(())
    }
}

fn nanoseconds(begin: Instant) -> u64 {
    // Never 0, which stands for "nothing has arrived".
    u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX) | 1
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The device: a dispatcher that signals the interrupt of a queue for each of its kicks.

use std::error::Error;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use notify_core::NotifierPair;
use notify_core::dispatcher::{
    Dispatcher, DispatcherHandle, Handler, HandlerError, PollHandler, PollLimits, Progress, Reason,
};

/// What the device has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) handled: AtomicU64,
    pub(crate) signalled: AtomicU64,
}

/// The longest time for which the device polls for the next kick before it sleeps. Waking a thread
/// costs the kicking side several times what the kick costs, and the next kick usually comes soon.
const LOOK: Duration = Duration::from_micros(50);

/// The queues, with a handler for each.
pub(crate) struct Device {
    dispatcher: Dispatcher,
    counters: Arc<Counters>,
    failure: Arc<Mutex<Option<Reason>>>,
}

impl Device {
    /// Must be called before the guest kicks.
    pub(crate) fn new(queues: &[NotifierPair]) -> Result<Self, Box<dyn Error>> {
        let failure = Arc::new(Mutex::new(None));
        let failed = Arc::clone(&failure);
        let running = Arc::new(OnceLock::<DispatcherHandle>::new());
        let to_stop = Arc::clone(&running);
        let dispatcher = Dispatcher::builder()
            .poll_limits(PollLimits::with_max(LOOK))
            .on_failure(move |failure| {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.reason);
                // A device that lacks a queue is of no use. If stopping fails too, there is no
                // caller to return the error to.
                let _ = to_stop.get().map(DispatcherHandle::stop);
            })
            .build()?;
        let handle = running.get_or_init(|| dispatcher.handle());
        let counters = Arc::new(Counters::default());
        for queue in queues {
            // The dispatcher of an earlier device may have left a wakeup in the counter. It would
            // be counted as a kick here.
            queue.host_notifier.consume()?;
            let handler = Queue {
                notifiers: queue.clone(),
                counters: Arc::clone(&counters),
            };
            handle
                .add_polled(Arc::clone(&queue.host_notifier), handler)
                .map_err(|rejected| rejected.error)?;
        }
        Ok(Self {
            dispatcher,
            counters,
            failure,
        })
    }

    /// What it has done so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Handles the queues until it is stopped, or one of them fails.
    pub(crate) fn serve(&self) -> Result<(), String> {
        self.dispatcher.run().map_err(|error| error.to_string())?;
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure
            .take()
            .map_or(Ok(()), |reason| Err(reason.to_string()))
    }

    /// Makes [`serve`](Self::serve) return.
    pub(crate) fn stop(&self) -> Result<(), Box<dyn Error>> {
        Ok(self.dispatcher.handle().stop()?)
    }
}

/// Handles the kicks of one queue.
struct Queue {
    notifiers: NotifierPair,
    counters: Arc<Counters>,
}

impl Queue {
    fn answer(&self, kicks: NonZeroU64) -> Result<(), HandlerError> {
        self.counters
            .handled
            .fetch_add(kicks.get(), Ordering::Relaxed);
        let call = || {
            // Counted first: the guest may have taken the interrupt before `notify` returns.
            self.counters.signalled.fetch_add(1, Ordering::Relaxed);
            self.notifiers.guest_notifier.notify()
        };
        Ok((0..kicks.get()).try_for_each(|_| call())?)
    }
}

impl Handler for Queue {
    fn handle(&mut self, kicks: NonZeroU64) -> Result<(), HandlerError> {
        self.answer(kicks)
    }
}

/// This device has no ring in memory, so polling looks at the kick counter.
impl PollHandler for Queue {
    fn poll(&mut self) -> Progress {
        let kicks = match self.notifiers.host_notifier.consume() {
            Ok(kicks) => kicks,
            Err(error) => return Progress::Failed(error.into()),
        };
        match kicks.map(|kicks| self.answer(kicks)) {
            None => Progress::None,
            Some(Ok(())) => Progress::Made,
            Some(Err(error)) => Progress::Failed(error),
        }
    }
}

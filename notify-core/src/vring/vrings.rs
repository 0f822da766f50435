// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vrings`]: the eventfds of a device's rings, and the back-end that has them.

use std::sync::Arc;

use super::signal::signal;
use super::{Stopped, StoppedRing, VringBackend, VringError};
use crate::{EventFdMode, EventNotifier, NotifierPair, Rejected};

/// The kick, call and error eventfds of all rings of one device, and the back-end that has them.
///
/// Drop blocks until the back-end has stopped, as [`stop`](Self::stop) does, and ignores its
/// errors. Call [`abandon`](Self::abandon) first if the back-end may be silent. The kicks keep
/// their counts.
///
/// `Vrings` has no lock: put it into a `Mutex` if several threads start and stop it. It is not on
/// the data path.
#[derive(Debug)]
pub struct Vrings<B: VringBackend> {
    rings: Vec<Ring>,
    state: State<B>,
}

#[derive(Debug)]
struct Ring {
    pair: NotifierPair,
    err: Arc<EventNotifier>,
}

#[derive(Debug)]
enum State<B> {
    /// No back-end. After one that died, calls may be missing.
    Idle {
        calls_missing: bool,
    },
    Started(B),
}

impl<B: VringBackend> Vrings<B> {
    /// Creates the set from a pair for each ring, and an error eventfd for each.
    ///
    /// Several rings may have the same call.
    ///
    /// # Errors
    ///
    /// - [`VringError::SharedNotifier`] if two rings have the same kick, or a kick is also a call.
    ///   Only the same `Arc` is recognised, not a duplicate of the eventfd.
    /// - [`VringError::Semaphore`] if a kick is in semaphore mode.
    /// - [`VringError::Notifier`] if an error eventfd cannot be created.
    pub fn new(rings: impl IntoIterator<Item = NotifierPair>) -> Result<Self, VringError> {
        let mut vrings = Self {
            rings: Vec::new(),
            state: State::Idle {
                calls_missing: false,
            },
        };
        for pair in rings {
            vrings.check(vrings.rings.len(), &pair)?;
            let err = Arc::new(EventNotifier::new()?);
            vrings.rings.push(Ring { pair, err });
        }
        Ok(vrings)
    }

    /// Gives the rings to a back-end and starts it, then kicks each ring once.
    ///
    /// After [`abandon`](Self::abandon) it also signals each call once, so that the guest looks for
    /// buffers that the lost back-end used without a call.
    ///
    /// Register the doorbells and arm the vectors before. Blocks as long as the back-end does; see
    /// also [`EventNotifier::notify`] for eventfds that a hostile process shares.
    ///
    /// # Errors
    ///
    /// The back-end comes back inside.
    ///
    /// - [`VringError::Started`] if a back-end has the rings; nothing has changed.
    /// - [`VringError::SetNotifier`], [`VringError::Start`], [`VringError::Notifier`] and
    ///   [`VringError::KeptFull`]: the back-end was asked to stop, which may have failed too. Drop
    ///   it before another one is started. Each ring is kicked once, so no kick is lost that the
    ///   back-end used up. The next start also signals each call.
    pub fn start(&mut self, mut backend: B) -> Result<(), Rejected<B, VringError>> {
        let State::Idle { calls_missing } = self.state else {
            return Err(Rejected::new(VringError::Started, backend));
        };
        let result = self.hand_over(&mut backend);
        if let Err(error) = result.and_then(|()| self.signal_all(calls_missing)) {
            // It may have used kicks up, and may owe calls. The error of the start counts, not
            // these.
            let _ = backend.stop(self.rings.len());
            let _ = self.signal_all(false);
            self.state = State::Idle {
                calls_missing: true,
            };
            return Err(Rejected::new(error, backend));
        }
        self.state = State::Started(backend);
        Ok(())
    }

    /// Stops the back-end, then reads and clears each ring's kick.
    ///
    /// Keep the vectors armed until this has returned: the back-end signals calls until then. If
    /// the VMM wants each later kick as an exit, remove the doorbells before. Blocks until the
    /// back-end has replied.
    ///
    /// # Errors
    ///
    /// - [`VringError::NotStarted`] if no back-end has the rings.
    /// - [`VringError::Stop`] if the back-end does not confirm, [`VringError::WrongBases`] if it
    ///   returns another number of bases than there are rings. It keeps the rings then; take them
    ///   from it by [`abandon`](Self::abandon).
    pub fn stop(&mut self) -> Result<Stopped<B>, VringError> {
        let State::Started(backend) = &mut self.state else {
            return Err(VringError::NotStarted);
        };
        let count = self.rings.len();
        let bases = backend.stop(count).map_err(|error| VringError::Stop {
            cause: error.into(),
        })?;
        if bases.len() != count {
            return Err(VringError::WrongBases {
                bases: bases.len(),
                rings: count,
            });
        }
        let take = |(ring, base): (&Ring, u32)| StoppedRing {
            base,
            kicked: !matches!(ring.pair.host_notifier.consume(), Ok(None)),
        };
        let rings = self.rings.iter().zip(bases).map(take).collect();
        let idle = State::Idle {
            calls_missing: false,
        };
        match std::mem::replace(&mut self.state, idle) {
            State::Started(backend) => Ok(Stopped { backend, rings }),
            State::Idle { .. } => Err(VringError::NotStarted),
        }
    }

    /// Takes the rings from a back-end that has died, without a request to it, and returns it.
    ///
    /// A process that is not dead may go on using rings and eventfds. If that is possible, give the
    /// rings new eventfds by [`set_pair`](Self::set_pair) before the next start. The error eventfds
    /// stay the same. Never blocks.
    ///
    /// The lost back-end cannot return a base. For a split ring whose device uses buffers in order,
    /// the base is the used index in guest memory. For others see VHOST_USER_GET_INFLIGHT_FD.
    pub fn abandon(&mut self) -> Option<B> {
        let calls_missing = match &self.state {
            State::Idle { calls_missing } => *calls_missing,
            State::Started(_) => true,
        };
        match std::mem::replace(&mut self.state, State::Idle { calls_missing }) {
            State::Started(backend) => Some(backend),
            State::Idle { .. } => None,
        }
    }

    /// Sets the kick and the call of a ring.
    ///
    /// Use it after a queue has moved to another vector, or before a back-end that must not have
    /// the old eventfds.
    ///
    /// A running back-end gets another call at once. Signals in the old call stay there;
    /// `irqfd::msix::Binding::bind_call` moves them to the new one. The kick of a running ring
    /// cannot change, because common daemons do not watch the new one: stop first.
    ///
    /// # Errors
    ///
    /// - [`VringError::NoSuchRing`], [`VringError::SharedNotifier`], [`VringError::Semaphore`], and
    ///   [`VringError::Started`] for another kick of a running back-end: nothing has changed.
    /// - [`VringError::SetNotifier`]: the ring has its old pair. Over a connection that broke, the
    ///   back-end may have the new call.
    pub fn set_pair(&mut self, ring: usize, pair: NotifierPair) -> Result<(), VringError> {
        let rings = self.rings.len();
        let Some(place) = self.rings.get(ring) else {
            return Err(VringError::NoSuchRing { ring, rings });
        };
        let same_kick = Arc::ptr_eq(&place.pair.host_notifier, &pair.host_notifier);
        self.check(ring, &pair)?;
        if let State::Started(backend) = &mut self.state {
            if !same_kick {
                return Err(VringError::Started);
            }
            pair.guest_notifier.declare_shared();
            let result = backend.set_call(ring, &pair.guest_notifier);
            result.map_err(refused("call", ring))?;
        }
        if let Some(place) = self.rings.get_mut(ring) {
            place.pair = pair;
        }
        Ok(())
    }

    /// Returns the rings whose error eventfd was signalled since the last call.
    ///
    /// Such a ring is dead until its content is repaired and the back-end is started again. The
    /// kernel stops at the first malformed descriptor, and signals again for each kick that makes
    /// it look there. Never blocks.
    ///
    /// # Errors
    ///
    /// [`VringError::Notifier`].
    pub fn failed(&self) -> Result<Vec<usize>, VringError> {
        let mut failed = Vec::new();
        for (number, ring) in self.rings.iter().enumerate() {
            if ring.err.consume()?.is_some() {
                failed.push(number);
            }
        }
        Ok(failed)
    }

    /// Returns a ring's error eventfd; `None` if there is no such ring.
    ///
    /// Add it to an event loop, and call [`failed`](Self::failed) when it is readable.
    #[must_use]
    pub fn error_notifier(&self, ring: usize) -> Option<&Arc<EventNotifier>> {
        self.rings.get(ring).map(|ring| &ring.err)
    }

    /// Returns a ring's kick and call; `None` if there is no such ring.
    #[must_use]
    pub fn pair(&self, ring: usize) -> Option<&NotifierPair> {
        self.rings.get(ring).map(|ring| &ring.pair)
    }

    /// Returns the back-end that has the rings, if one has.
    #[must_use]
    pub fn backend(&self) -> Option<&B> {
        match &self.state {
            State::Started(backend) => Some(backend),
            State::Idle { .. } => None,
        }
    }

    fn check(&self, ring: usize, pair: &NotifierPair) -> Result<(), VringError> {
        let (kick, call) = (&pair.host_notifier, &pair.guest_notifier);
        let is_error = |it: &Ring| Arc::ptr_eq(kick, &it.err) || Arc::ptr_eq(call, &it.err);
        if let Some(other) = self.rings.iter().position(is_error) {
            return Err(VringError::SharedNotifier { ring, other });
        }
        if kick.mode() == EventFdMode::Semaphore {
            return Err(VringError::Semaphore { ring });
        }
        if Arc::ptr_eq(kick, call) {
            return Err(VringError::SharedNotifier { ring, other: ring });
        }
        for (other, there) in self.rings.iter().enumerate().filter(|it| it.0 != ring) {
            let there = &there.pair;
            if Arc::ptr_eq(kick, &there.host_notifier)
                || Arc::ptr_eq(kick, &there.guest_notifier)
                || Arc::ptr_eq(call, &there.host_notifier)
            {
                return Err(VringError::SharedNotifier { ring, other });
            }
        }
        Ok(())
    }

    fn hand_over(&self, backend: &mut B) -> Result<(), VringError> {
        for (number, ring) in self.rings.iter().enumerate() {
            ring.pair.host_notifier.declare_shared();
            ring.pair.guest_notifier.declare_shared();
            let result = backend.set_err(number, &ring.err);
            result.map_err(refused("error", number))?;
            let result = backend.set_call(number, &ring.pair.guest_notifier);
            result.map_err(refused("call", number))?;
            let result = backend.set_kick(number, &ring.pair.host_notifier);
            result.map_err(refused("kick", number))?;
        }
        for ring in &self.rings {
            // Of an earlier back-end.
            ring.err.consume()?;
        }
        let started = backend.start(self.rings.len());
        started.map_err(|error| VringError::Start {
            cause: error.into(),
        })
    }

    fn signal_all(&self, calls_too: bool) -> Result<(), VringError> {
        for ring in &self.rings {
            signal(&ring.pair.host_notifier)?;
            if calls_too {
                signal(&ring.pair.guest_notifier)?;
            }
        }
        Ok(())
    }
}

impl<B: VringBackend> Drop for Vrings<B> {
    fn drop(&mut self) {
        if let State::Started(backend) = &mut self.state {
            // There is no caller to report to, and the back-end is dropped next.
            let _ = backend.stop(self.rings.len());
        }
    }
}

fn refused(notifier: &'static str, ring: usize) -> impl FnOnce(std::io::Error) -> VringError {
    move |error| VringError::SetNotifier {
        notifier,
        ring,
        cause: error.into(),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`EventNotifier`]: one eventfd.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use vmm_sys_util::eventfd::EventFd;

use super::{EventNotifierBuilder, fd};
use crate::{Error, Rejected};

/// An owned, non-blocking, close-on-exec eventfd: a counter in the kernel that one side raises and
/// the other takes.
///
/// Dropping it closes the file descriptor. Closing does *not* undo a registration as an ioeventfd,
/// which is why guards hold an `Arc<EventNotifier>`: share one notifier rather than duplicating it.
///
/// `vmm-sys-util` 0.15 has a type of the same name which is only the write half of a pair; see
/// [`EventNotifier::from_consumer_and_notifier`] for the way between the two.
///
/// # A counter shared with somebody who is not trusted
///
/// `O_NONBLOCK` belongs to the open file, so a process that was handed the eventfd can clear it.
/// [`consume`](Self::consume), [`is_signalled`](Self::is_signalled) and [`wait`](Self::wait) never
/// rely on it. [`notify`](Self::notify) does: the kernel has no non-blocking write for eventfds, so
/// it blocks if the other holder has cleared the flag *and* filled the counter to 2^64 - 2. Where
/// that matters, do not signal on a thread that must not stop.
///
/// Needs Linux 5.8, the first kernel whose eventfds know `RWF_NOWAIT`. Kernel source: `fs/eventfd.c`.
///
/// ```
/// use notify_core::EventNotifier;
///
/// let notifier = EventNotifier::new()?;
/// notifier.notify()?;
/// notifier.notify()?;
/// assert!(notifier.is_signalled()?);
/// assert_eq!(notifier.consume()?.map(u64::from), Some(2));
/// assert_eq!(notifier.consume()?, None);
/// # Ok::<(), notify_core::Error>(())
/// ```
#[derive(Debug)]
pub struct EventNotifier {
    pub(super) eventfd: EventFd,
    pub(super) mode: EventFdMode,
}

/// What one read takes from the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFdMode {
    /// All of it, as notifiers do.
    Counter,
    /// One (`EFD_SEMAPHORE`). KVM wakes once for each write, whatever its value, and leaves the
    /// rest behind; an irqfd therefore refuses it.
    Semaphore,
    /// Not known: the eventfd was adopted, and the kernel tells its mode only through `/proc`
    /// (since Linux 6.5), which is not mounted here or does not say.
    Unknown,
}

impl EventNotifier {
    /// A notifier with a counter of zero.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A notifier with an initial value, or in semaphore mode.
    pub fn builder() -> EventNotifierBuilder {
        EventNotifierBuilder::default()
    }

    /// Takes over a file descriptor that came from elsewhere: a vhost-user peer, a parent process.
    ///
    /// It is checked to be an eventfd, without `/proc` and without touching its counter. It is made
    /// close-on-exec, and non-blocking for everybody who holds the same open file.
    ///
    /// # Errors
    ///
    /// [`Error::NotEventFd`], [`Error::Examine`]; the file descriptor comes back inside.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Rejected<OwnedFd>> {
        match fd::examine(fd.as_fd()) {
            Ok(mode) => Ok(Self {
                eventfd: fd::transfer(fd),
                mode,
            }),
            Err(error) => Err(Rejected::new(error, fd)),
        }
    }

    /// Duplicates a borrowed eventfd: the new notifier shares its counter.
    ///
    /// The open file becomes non-blocking, for the lender too.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`], and those of [`adopt`](Self::adopt).
    pub fn adopt_borrowed(fd: impl AsFd) -> Result<Self, Error> {
        let duplicate = fd::duplicate(fd.as_fd())?;
        Ok(Self::adopt(duplicate)?)
    }

    /// Another file descriptor for the same counter.
    ///
    /// For another process, or for an interface that wants to own one. Within a process, share the
    /// notifier in an `Arc` instead: file descriptors are few.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            eventfd: fd::transfer(fd::duplicate(self.as_fd())?),
            mode: self.mode,
        })
    }

    /// What one read takes from the counter, as far as it is known.
    #[must_use]
    pub fn mode(&self) -> EventFdMode {
        self.mode
    }

    /// Adds one to the counter.
    ///
    /// A counter that cannot grow means that a signal is pending already: that is success. If the
    /// eventfd is bound as an irqfd, KVM injects the interrupt before this returns (MSI) or soon
    /// after (pins).
    ///
    /// # Errors
    ///
    /// [`Error::Notify`]; none is known for an eventfd that is open.
    #[inline]
    pub fn notify(&self) -> Result<(), Error> {
        self.try_notify().map(drop)
    }

    /// The same, and answers whether the counter has grown: `false` if it is full.
    ///
    /// That matters where the counter is not read by whoever is to be told: KVM and vhost hear of the write,
    /// and of one that is refused they hear nothing. Somebody who shares the eventfd can fill it.
    ///
    /// # Errors
    ///
    /// As for [`notify`](Self::notify).
    #[inline]
    pub fn try_notify(&self) -> Result<bool, Error> {
        fd::add_one(&self.eventfd).map_err(|source| Error::Notify {
            fd: self.eventfd.as_raw_fd(),
            source,
        })
    }

    /// Takes the counter: how many signals there were since the last time, `None` for none.
    ///
    /// This is QEMU's `event_notifier_test_and_clear`. It never blocks, whatever another holder did
    /// to the file's flags. In semaphore mode it takes one signal at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Consume`] where the kernel is older than 5.8 or a system-call filter refuses
    /// `preadv2`.
    #[inline]
    pub fn consume(&self) -> Result<Option<NonZeroU64>, Error> {
        fd::take(&self.eventfd).map_err(|source| Error::Consume {
            fd: self.eventfd.as_raw_fd(),
            source,
        })
    }

    /// Whether a signal is pending. It stays pending.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`].
    pub fn is_signalled(&self) -> Result<bool, Error> {
        self.poll_until(PollFlags::POLLIN, Some(Instant::now()))
    }

    /// Whether the counter is full: KVM and vhost are not woken by a write that it refuses. A process
    /// that shares the eventfd can fill it.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`].
    pub fn is_full(&self) -> Result<bool, Error> {
        let has_room = self.poll_until(PollFlags::POLLOUT, Some(Instant::now()));
        has_room.map(|has_room| !has_room)
    }

    /// Waits for a signal and takes it, for at most `timeout` (`None`: for ever).
    ///
    /// Answers `None` if the time ran out. Where several threads wait on one counter, each signal
    /// is taken by one of them.
    ///
    /// # Errors
    ///
    /// [`Error::Poll`], and those of [`consume`](Self::consume).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Option<NonZeroU64>, Error> {
        // A deadline beyond what the clock can express is as good as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(count) = self.consume()? {
                return Ok(Some(count));
            }
            if !self.poll_until(PollFlags::POLLIN, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether the counter became readable, or writable, before the deadline.
    fn poll_until(&self, what: PollFlags, deadline: Option<Instant>) -> Result<bool, Error> {
        loop {
            let remaining = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let mut fds = [PollFd::new(self.as_fd(), what)];
            match ppoll(&mut fds, remaining.map(TimeSpec::from_duration), None) {
                // If the kernel has added the last one, which a write cannot, POLLERR alone is set.
                Ok(_) => {
                    let [fd] = fds;
                    return Ok(fd.revents().is_some_and(|events| events.contains(what)));
                }
                Err(nix::Error::EINTR) => {}
                Err(errno) => {
                    return Err(Error::Poll {
                        fd: self.eventfd.as_raw_fd(),
                        source: errno.into(),
                    });
                }
            }
        }
    }
}

impl AsFd for EventNotifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        fd::borrow(&self.eventfd)
    }
}

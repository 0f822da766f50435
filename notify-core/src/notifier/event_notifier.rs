// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`EventNotifier`]: one eventfd.

use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::OFlag;

use super::holder::Holder;
use super::{EventNotifierBuilder, examine, fd};
use crate::Error;

/// A close-on-exec eventfd: a counter in the kernel that one side adds to and the other takes.
///
/// It is the whole eventfd, to signal and to read, as QEMU's `EventNotifier` is. The type of the
/// same name in vmm-sys-util 0.15 is only the write half of a pair; `TryFrom` converts the two
/// halves together, and back. Any event loop can watch this type by its file descriptor (see
/// [`event_loops`](crate::event_loops)).
///
/// # From what a VMM has
///
/// | the VMM has | conversion | file descriptors | system calls |
/// |---|---|---|---|
/// | nothing yet | [`new`](Self::new), [`builder`](Self::builder) | a new one | `eventfd2` |
/// | `EventFd` of vmm-sys-util 0.15 | `From<EventFd>` | its own | none |
/// | `Arc<EventFd>` of 0.15 | `From<Arc<EventFd>>` | shared | none |
/// | `&EventFd` of 0.15 | `TryFrom<&EventFd>` | a duplicate | `fcntl` |
/// | `&EventFd` of another version, or another type | [`adopt_borrowed`](Self::adopt_borrowed) | a duplicate | `fcntl` and those of `adopt` |
/// | `OwnedFd`, from another process | [`adopt`](Self::adopt) | its own | `fstat`, `preadv2`, `writev`, `fcntl` three times, and those of `mode` |
///
/// The conversions from and to `EventFd` need the feature `vmm-sys-util` (on by default), and do
/// not change its flags. The `adopt` functions check that the descriptor is an eventfd, and make
/// the open file non-blocking, also for other holders.
///
/// Dropping a notifier closes its file descriptor, unless it shares one. Closing does *not* undo a
/// registration as an ioeventfd. Guards therefore hold an `Arc<EventNotifier>`: share one notifier
/// instead of duplicating it.
///
/// # Shared and private notifiers
///
/// `O_NONBLOCK` belongs to the open file, so a process that was given the eventfd can clear it.
///
/// A *shared* notifier, as each is at first, does not rely on the flag to read:
/// [`consume`](Self::consume), [`is_signalled`](Self::is_signalled) and [`wait`](Self::wait) never
/// block because of it. It uses `preadv2`, which the system call filters of some VMMs do not allow.
/// A notifier that was declared [*private*](Self::declare_private) uses `read`. With a filter,
/// either allow `preadv2`, or declare private each notifier that no other process has.
///
/// [`notify`](Self::notify) relies on the flag, whether the notifier is private or shared: the
/// kernel has no other non-blocking write for eventfds.
///
/// # System calls
///
/// | operation | shared | private |
/// |---|---|---|
/// | [`notify`](Self::notify), [`try_notify`](Self::try_notify), [`add`](Self::add) | `write` | `write` |
/// | [`consume`](Self::consume) | `preadv2` | `read` |
/// | [`wait`](Self::wait) | `preadv2`, `ppoll` | `read`, `ppoll` |
/// | [`is_signalled`](Self::is_signalled) | `ppoll` | `ppoll` |
/// | [`mode`](Self::mode) | none if the notifier was created or adopted here; else the first call reads `/proc` | the same |
/// | [`declare_private`](Self::declare_private) | `fcntl` once or twice | none |
/// | [`declare_shared`](Self::declare_shared), [`is_private`](Self::is_private), `AsFd`, `AsRef<EventFd>` | none | none |
/// | [`try_clone`](Self::try_clone) | `fcntl` | `fcntl` |
/// | drop | `close` | `close` |
///
/// No other operation of these crates polls a notifier.
///
/// Needs Linux 5.8, the first kernel whose eventfds support `RWF_NOWAIT`. Kernel source:
/// `fs/eventfd.c`.
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
    pub(super) holder: Holder,
    /// Set once it is known.
    pub(super) mode: OnceLock<EventFdMode>,
    pub(super) private: AtomicBool,
}

/// What one read takes from the counter of an eventfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventFdMode {
    /// All of it, as for each notifier that is not built as a semaphore.
    Counter,
    /// 1 (`EFD_SEMAPHORE`).
    ///
    /// KVM injects once for each write, whatever its value, and leaves the rest in the counter, so
    /// an `irqfd::IrqFd` refuses it.
    Semaphore,
    /// Not known.
    ///
    /// The eventfd was made elsewhere, and the kernel is older than 6.5, or `/proc` is not mounted.
    /// (From Linux 6.5 on the kernel shows the mode there, and nowhere else.)
    Unknown,
}

impl EventNotifier {
    /// Creates a notifier with a counter of 0.
    ///
    /// # Errors
    ///
    /// [`Error::Create`].
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// Returns a builder, for an initial value or semaphore mode.
    pub fn builder() -> EventNotifierBuilder {
        EventNotifierBuilder::default()
    }

    /// Creates a shared notifier, with the mode if it is known.
    pub(super) fn of(holder: Holder, mode: Option<EventFdMode>) -> Self {
        Self {
            holder,
            mode: mode.map_or_else(OnceLock::new, OnceLock::from),
            private: AtomicBool::new(false),
        }
    }

    pub(super) fn with_private(mut self, private: bool) -> Self {
        *self.private.get_mut() = private;
        self
    }

    /// Returns what one read takes from the counter, as far as it is known.
    ///
    /// If the eventfd was made elsewhere, the first call reads `/proc/self/fdinfo` (`openat`,
    /// `statx`, `read`, `close`). Later calls make no system call, unless no memory or descriptor
    /// was free for the first one.
    ///
    /// These crates call it when an irqfd is assigned, when the dispatcher watches the notifier,
    /// when kicks are moved to another notifier, and in [`Vrings`](crate::vring::Vrings). A VMM
    /// that installs a system call filter, or loses access to `/proc`, should call it before.
    pub fn mode(&self) -> EventFdMode {
        let known = self.mode.get().copied();
        let found = || examine::mode(self.as_fd()).inspect(|mode| _ = self.mode.set(*mode));
        known.or_else(found).unwrap_or(EventFdMode::Unknown)
    }

    /// Declares that only this process has the eventfd, so that `consume` may use `read`.
    ///
    /// The caller also promises that no code clears its `O_NONBLOCK`. If the flag is not set, this
    /// call sets it.
    ///
    /// If the declaration is wrong, [`consume`](Self::consume) may block until the next signal.
    ///
    /// The declaration ends when these crates give the eventfd away:
    ///
    /// - [`Vrings`](crate::vring::Vrings) gives it to a back-end;
    /// - `Vector::export` of `irqfd` returns it;
    /// - [`try_clone`](Self::try_clone) duplicates it.
    ///
    /// A caller that gives it away in another way calls [`declare_shared`](Self::declare_shared)
    /// before. The kernel is no other process: a private notifier may be bound as an irqfd or
    /// ioeventfd.
    ///
    /// # Errors
    ///
    /// [`Error::Examine`] if the flag cannot be read or set; nothing has changed.
    pub fn declare_private(&self) -> Result<(), Error> {
        if self.is_private() {
            return Ok(());
        }
        fd::set_nonblocking(self.as_fd()).map_err(|error| self.examine(error))?;
        self.private.store(true, Ordering::Release);
        Ok(())
    }

    /// Ends the declaration of [`declare_private`](Self::declare_private).
    ///
    /// A `consume` that another thread has begun may still use `read`.
    pub fn declare_shared(&self) {
        self.private.store(false, Ordering::Release);
    }

    /// Returns whether it was declared private.
    #[must_use]
    #[inline]
    pub fn is_private(&self) -> bool {
        self.private.load(Ordering::Acquire)
    }

    /// Whether the open file is non-blocking now.
    pub(crate) fn is_nonblocking(&self) -> Result<bool, Error> {
        let flags = fd::flags(self.as_fd()).map_err(|error| self.examine(error))?;
        Ok(flags.contains(OFlag::O_NONBLOCK))
    }

    fn examine(&self, error: std::io::Error) -> Error {
        let (fd, cause) = (self.as_raw_fd(), error.into());
        Error::Examine { fd, cause }
    }

    /// Adds 1 to the counter: signals the other side.
    ///
    /// If the counter is full, a signal is pending already: that is success. If the eventfd is
    /// bound as an irqfd, KVM injects the interrupt before this returns (MSI) or soon after (pin).
    ///
    /// Blocks while the counter is full (2^64 - 2) *and* the open file is blocking. The file is
    /// blocking if it was made by `EventFd::new(0)` and converted, or if another holder has cleared
    /// `O_NONBLOCK`. Calls of this method do not fill the counter; another holder can. If that
    /// matters, do not signal on a thread that must not stop.
    ///
    /// # Errors
    ///
    /// [`Error::Notify`]; not known to happen for an open eventfd.
    #[inline]
    pub fn notify(&self) -> Result<(), Error> {
        self.try_notify().map(drop)
    }

    /// Adds 1 to the counter, and returns whether it has grown: `false` if it is full.
    ///
    /// The result matters if the receiver does not read the counter: KVM and vhost are woken by the
    /// write, and not by a write that fails. A process that shares the eventfd can fill it.
    ///
    /// Blocks as [`notify`](Self::notify) does.
    ///
    /// # Errors
    ///
    /// As for [`notify`](Self::notify).
    #[inline]
    pub fn try_notify(&self) -> Result<bool, Error> {
        self.add(NonZeroU64::MIN)
    }

    /// Adds several signals at once, and returns whether the counter has grown.
    ///
    /// Use it for signals that were taken from another notifier. It returns `false`, and adds
    /// nothing, if the counter has no room for all of them. Blocks as [`notify`](Self::notify)
    /// does.
    ///
    /// # Errors
    ///
    /// As for [`notify`](Self::notify); EINVAL for 2^64 - 1, which no counter can have.
    #[inline]
    pub fn add(&self, count: NonZeroU64) -> Result<bool, Error> {
        fd::add(self.as_fd(), count.get()).map_err(|error| Error::Notify {
            fd: self.as_raw_fd(),
            cause: error.into(),
        })
    }

    /// Takes the counter, and returns how many signals came since the last call; `None` for none.
    ///
    /// This is QEMU's `event_notifier_test_and_clear`. It never blocks, whatever another holder did
    /// to the file's flags, unless the notifier was wrongly [declared
    /// private](Self::declare_private). In semaphore mode it takes one signal at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Consume`] if the kernel is older than 5.8, or a system call filter refuses
    /// `preadv2`.
    #[inline]
    pub fn consume(&self) -> Result<Option<NonZeroU64>, Error> {
        let taken = match self.is_private() {
            true => fd::take_private(self.as_fd()),
            false => fd::take(self.as_fd()),
        };
        taken.map_err(|error| Error::Consume {
            fd: self.as_raw_fd(),
            cause: error.into(),
        })
    }
}

impl AsFd for EventNotifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.holder.as_fd()
    }
}

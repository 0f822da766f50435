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

/// A close-on-exec eventfd: a counter in the kernel that one side raises and the other takes.
///
/// It is the whole eventfd, both to signal and to read, as QEMU's `EventNotifier` is. The type of
/// the same name in vmm-sys-util 0.15 is only the write half of a pair; `TryFrom` converts the two
/// halves together, and back. The crate event-manager is an event loop, and can watch this type by
/// its file descriptor (see [`event_loops`](crate::event_loops)).
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
/// The conversions from and to `EventFd` need the feature `vmm-sys-util` (on by default), and leave
/// its flags as they are. The `adopt` functions check that the descriptor is an eventfd, and make
/// the open file non-blocking, for the lender too.
///
/// Dropping a notifier closes its file descriptor, unless it shares one. Closing does *not* undo a
/// registration as an ioeventfd, which is why guards hold an `Arc<EventNotifier>`: share one
/// notifier instead of duplicating it.
///
/// # Shared and private notifiers
///
/// `O_NONBLOCK` belongs to the open file, so a process that was given the eventfd can clear it.
/// A *shared* notifier, as each is at first, does not rely on the flag to read:
/// [`consume`](Self::consume), [`is_signalled`](Self::is_signalled) and [`wait`](Self::wait) never
/// block because of it. For that it uses `preadv2`, which the system call filters of some VMMs do
/// not allow. A notifier that was declared [*private*](Self::declare_private) uses `read`. So with
/// a filter, declare private what no other process has, or allow `preadv2`.
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
    /// Once it was asked for.
    pub(super) mode: OnceLock<EventFdMode>,
    pub(super) private: AtomicBool,
}

/// What one read takes from the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventFdMode {
    /// All of it, as notifiers do.
    Counter,
    /// One (`EFD_SEMAPHORE`). KVM injects once for each write, whatever its value, and leaves the
    /// rest in the counter, so an `irqfd::IrqFd` refuses it.
    Semaphore,
    /// Not known: the eventfd was made elsewhere, and the kernel is older than 6.5, or `/proc` is
    /// not mounted. (From Linux 6.5 on the kernel shows the mode there, and nowhere else.)
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

    /// With the mode if it is known. It is shared.
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

    /// What one read takes from the counter, as far as it is known.
    ///
    /// Where the eventfd was made elsewhere, the first call reads `/proc/self/fdinfo` (`openat`,
    /// `statx`, `read`, `close`), and later calls make no system call. It is called where the mode
    /// matters: when an irqfd is assigned, when the dispatcher watches the notifier, when kicks are
    /// handed over to another notifier, and by [`Vrings`](crate::vring::Vrings). A VMM that
    /// installs a system call filter, or loses access to `/proc`, calls it before.
    pub fn mode(&self) -> EventFdMode {
        *self.mode.get_or_init(|| examine::mode(self.as_fd()))
    }

    /// Declares that no other process has the eventfd, and that no code clears its `O_NONBLOCK`, so
    /// that [`consume`](Self::consume) may use `read`. If the flag is not set, this sets it.
    ///
    /// If the declaration is wrong, `consume` may block until the next signal.
    ///
    /// It ends when these crates hand the eventfd out: when
    /// [`Vrings`](crate::vring::Vrings) gives it to a back-end, when `Vector::export` of `irqfd`
    /// returns it, and in [`try_clone`](Self::try_clone). A caller that hands it out in another way
    /// calls [`declare_shared`](Self::declare_shared) before. The kernel is no other process: a
    /// private notifier may be bound as an irqfd or ioeventfd.
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

    /// Ends what [`declare_private`](Self::declare_private) declared. A `consume` that another
    /// thread has begun may still use `read`.
    pub fn declare_shared(&self) {
        self.private.store(false, Ordering::Release);
    }

    /// Whether it was declared private.
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

    /// Adds one to the counter.
    ///
    /// A counter that cannot grow means that a signal is pending already: that is success. If the
    /// eventfd is bound as an irqfd, KVM injects the interrupt before this returns (MSI) or soon
    /// after (pins).
    ///
    /// Blocks while the counter is full (2^64 - 2) *and* the open file is blocking: it was made by
    /// `EventFd::new(0)` and converted, or another holder has cleared `O_NONBLOCK`. Counts of one
    /// do not fill it; another holder can. Where that matters, do not signal on a thread that must
    /// not stop.
    ///
    /// # Errors
    ///
    /// [`Error::Notify`]; none is known for an eventfd that is open.
    #[inline]
    pub fn notify(&self) -> Result<(), Error> {
        self.try_notify().map(drop)
    }

    /// The same, and returns whether the counter has grown: `false` if it is full.
    ///
    /// That matters where the receiver does not read the counter: KVM and vhost are woken by the
    /// write, and not by a write that is refused. A process that shares the eventfd can fill it.
    ///
    /// # Errors
    ///
    /// As for [`notify`](Self::notify).
    #[inline]
    pub fn try_notify(&self) -> Result<bool, Error> {
        self.add(NonZeroU64::MIN)
    }

    /// Adds several signals at once, for instance those that were taken from another notifier.
    /// Returns whether the counter has grown: `false` if it has no room for all of them, and then
    /// none was added.
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

    /// Takes the counter: how many signals there were since the last time, `None` for none.
    ///
    /// This is QEMU's `event_notifier_test_and_clear`. It never blocks, whatever another holder did
    /// to the file's flags (unless the notifier was wrongly
    /// [declared private](Self::declare_private)). In semaphore mode it takes one signal at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Consume`] where the kernel is older than 5.8 or a system call filter refuses
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

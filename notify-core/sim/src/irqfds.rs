// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The eventfds that are bound as irqfds, and which of them were signalled.
//!
//! KVM hooks an eventfd's wait queue. From user space an edge-triggered epoll comes closest. It
//! reports an eventfd once for each time that it was written since the last report. As KVM does at
//! assignment, it also reports a signal from before once. So the counter itself need not be read to
//! know that there is a new signal.
//!
//! Kernel source: `virt/kvm/eventfd.c`.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::eventfd::Held;
use super::{errno, registry};

/// How many signalled eventfds are asked for at a time.
const BATCH: usize = 64;

/// Names a binding of an eventfd, as irqfd or doorbell, in any VM.
pub(super) fn new_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One binding.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) gsi: u32,
    pub(super) eventfd: Held,
    pub(super) resample: Option<Held>,
    /// Of what is in the counter, how much was delivered when it was bound.
    pub(super) delivered: u64,
}

#[derive(Debug, Default)]
pub(super) struct IrqFds {
    bound: BTreeMap<u64, Bound>,
    epoll: Option<Epoll>,
}

impl IrqFds {
    pub(super) fn is_empty(&self) -> bool {
        self.bound.is_empty()
    }

    /// Takes the signals of a binding; whether there were any.
    pub(super) fn take(&mut self, token: u64) -> Option<&Bound> {
        let bound = self.bound.get_mut(&token)?;
        let signalled = bound.eventfd.take() > 0;
        bound.delivered = 0;
        signalled.then_some(bound)
    }

    /// Notes that the count of a new binding has been delivered.
    pub(super) fn deliver_count(&mut self, token: u64) {
        if let Some(bound) = self.bound.get_mut(&token) {
            // Where it is not known, all that is found later counts as delivered.
            bound.delivered = bound.eventfd.count().unwrap_or(u64::MAX);
        }
    }

    /// EBUSY if the eventfd is bound already, in this VM or another.
    pub(super) fn insert(&mut self, bound: Bound) -> io::Result<u64> {
        let token = new_token();
        if !registry::insert(&bound.eventfd, token) {
            return Err(errno(libc::EBUSY));
        }
        let watched = self.watch(&bound.eventfd, token);
        if let Err(error) = watched {
            registry::remove_if(&bound.eventfd, |_| true);
            return Err(error);
        }
        self.bound.insert(token, bound);
        Ok(token)
    }

    fn watch(&mut self, eventfd: &Held, token: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, token);
        Ok(self.epoll()?.add(eventfd, event)?)
    }

    fn epoll(&mut self) -> io::Result<&Epoll> {
        if self.epoll.is_none() {
            self.epoll = Some(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        }
        self.epoll.as_ref().ok_or_else(|| errno(libc::EBADF))
    }

    /// A file that is readable when an eventfd may have been signalled.
    pub(super) fn readiness(&mut self) -> io::Result<OwnedFd> {
        self.epoll()?.0.try_clone()
    }

    /// Unbinds an eventfd, if it is bound here and to this GSI. Returns also whether it was
    /// signalled since its signals were carried out, a moment ago: the kernel would have carried
    /// that out too.
    pub(super) fn remove(&mut self, eventfd: &Held, gsi: u32) -> Option<(Bound, bool)> {
        let token = registry::remove_if(eventfd, |token| {
            let here = self.bound.get(&token);
            here.is_some_and(|bound| bound.gsi == gsi)
        })?;
        let bound = self.bound.remove(&token)?;
        let late = self.release(&bound) > bound.delivered;
        // A semaphore is drained by one for each write, and may keep the rest.
        let late = late && !bound.eventfd.is_semaphore();
        Some((bound, late))
    }

    /// What is left in the counter is gone with the binding. Returns how much it was.
    fn release(&self, bound: &Bound) -> u64 {
        if let Some(epoll) = &self.epoll {
            // It was added when it was bound, so that it can be removed.
            let _ = epoll.delete(&bound.eventfd);
        }
        bound.eventfd.take()
    }

    /// Eventfds that were written since they were last asked for, in the order of the writes.
    pub(super) fn signalled(&self) -> Vec<u64> {
        let mut tokens = Vec::new();
        let Some(epoll) = self.epoll.as_ref().filter(|_| !self.bound.is_empty()) else {
            return tokens;
        };
        let mut events = [EpollEvent::empty(); BATCH];
        // An eventfd that is signalled again meanwhile waits for the next time.
        for _ in 0..=self.bound.len() / BATCH {
            let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            tokens.extend(events.iter().take(count).map(EpollEvent::data));
            if count < BATCH {
                break;
            }
        }
        tokens
    }

    /// The resample eventfds of a GSI, in the order in which the kernel signals them: those that
    /// came last are first.
    pub(super) fn resamplers(&self, gsi: u32) -> impl Iterator<Item = &Held> {
        let last_first = self.bound.values().rev();
        let here = last_first.filter(move |bound| bound.gsi == gsi);
        here.filter_map(|bound| bound.resample.as_ref())
    }
}

impl Drop for IrqFds {
    fn drop(&mut self) {
        for bound in self.bound.values() {
            registry::remove_if(&bound.eventfd, |_| true);
            self.release(bound);
        }
    }
}

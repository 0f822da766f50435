// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writes that exited to user space: the same match as KVM's.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use super::matcher::pieces;
use super::signal::Signal;
use super::table::ExitTable;
use crate::set::DoorbellSet;
use crate::{Error, IoAddress};

/// What the VMM does after an exit whose write it passed to [`DoorbellSet::on_exit_write`].
///
/// The enum is exhaustive: each piece of a write was a kick or was not, so there is no further
/// case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "the VMM has to emulate a write that was no kick"]
pub enum AfterExit {
    /// The whole write was a kick: enter the guest again.
    Resume,
    /// No doorbell takes the write: emulate it as a write to another register.
    Emulate,
    /// Some pieces of a long store were kicks: emulate the others.
    ///
    /// These are the pieces for which [`DoorbellSet::key_of_write`] returns `None`. An exit of KVM
    /// is one piece, so this is returned only for a store that the VMM has put together from
    /// several.
    EmulateRest,
}

impl fmt::Display for AfterExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resume => "a kick",
            Self::Emulate => "no kick",
            Self::EmulateRest => "a kick in part",
        })
    }
}

impl DoorbellSet {
    /// Signals the doorbell that KVM would have signalled for this write.
    ///
    /// `bytes` are those of one exit, in memory order. Address and bytes come from the guest and
    /// may have any value. A store is split as KVM splits it, at pages and into eight bytes, and
    /// each piece is matched by itself. An `outs` instruction exits once for all its elements: pass
    /// them one by one (`kvm_run.io.size` is the length of each).
    ///
    /// A set that is stopped matches only addresses that it has left.
    ///
    /// # Blocking
    ///
    /// Call it from any vCPU's thread; see [exits](Self#exits). It takes a fraction of a
    /// microsecond and issues no ioctl. It allocates only if a change of notifiers overtakes it.
    /// The notifier is signalled with no lock held: if a peer makes
    /// [`notify`](notify_core::EventNotifier::notify) block, only the calling vCPU waits.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`].
    pub fn on_exit_write(&self, address: IoAddress, bytes: &[u8]) -> Result<AfterExit, Error> {
        let (mut rang, mut missed) = (false, false);
        for (at, piece) in pieces(address, bytes) {
            match self.due(at, piece) {
                Some(due) => {
                    self.signal(&due)?;
                    rang = true;
                }
                None => missed = true,
            }
        }
        Ok(match (rang, missed) {
            (false, _) => AfterExit::Emulate,
            (true, true) => AfterExit::EmulateRest,
            (true, false) => AfterExit::Resume,
        })
    }

    /// The notifier of the doorbell that takes a piece of a write.
    pub(in crate::set) fn due(&self, address: IoAddress, piece: &[u8]) -> Option<Signal<[u64; 1]>> {
        let exits = self.exits();
        let target = exits.matcher.find(address, piece)?;
        Some(Signal {
            keys: [target.key],
            notifier: Arc::clone(&target.notifier),
            seen: exits.handovers,
        })
    }

    pub(in crate::set) fn exits(&self) -> RwLockReadGuard<'_, ExitTable> {
        self.exits.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the key of the doorbell that [`on_exit_write`](Self::on_exit_write) would signal.
    ///
    /// It signals nothing. For a write that KVM splits it returns `None`.
    #[must_use]
    pub fn key_of_write(&self, address: IoAddress, bytes: &[u8]) -> Option<u64> {
        let exits = self.exits();
        let mut pieces = pieces(address, bytes);
        let (at, piece) = pieces.next()?;
        match pieces.next() {
            None => Some(exits.matcher.find(at, piece)?.key),
            Some(_) => None,
        }
    }
}

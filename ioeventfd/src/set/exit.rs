// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Writes that left the guest: the same match as KVM's, in user space.

use std::sync::PoisonError;

use super::DoorbellSet;
use crate::matcher::pieces;
use crate::{Error, IoAddress};

/// What became of a write that left the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what rang no doorbell is the VMM's to handle"]
pub enum Rung {
    /// No doorbell takes it: it is something else's.
    None,
    /// A store that KVM looks up in several pieces: some rang a doorbell, others are something else's.
    Some,
    /// It was a kick, and nothing else.
    All,
}

impl DoorbellSet {
    /// Signals the doorbell that KVM would have signalled for this write, had it been registered.
    ///
    /// `bytes` are those of one exit, in the order in which they lie in memory. Bytes and address are
    /// the guest's, and may be anything. A store that KVM cuts is cut as KVM cuts it: at a page, and
    /// into eight bytes; each piece is matched by itself. An `outs` instruction exits once for all its
    /// elements, which go here one by one (`kvm_run.io.size` says how long each is).
    ///
    /// Call it from any vCPU's thread; see [exits](Self#exits). It takes a fraction of a microsecond,
    /// does not allocate, and issues no ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::Signal`].
    pub fn on_exit_write(&self, address: IoAddress, bytes: &[u8]) -> Result<Rung, Error> {
        let matcher = self.matcher.read().unwrap_or_else(PoisonError::into_inner);
        let (mut rang, mut missed) = (false, false);
        for (at, piece) in pieces(address, bytes) {
            let Some(target) = matcher.find(at, piece) else {
                missed = true;
                continue;
            };
            // With the lock held, so that no change finds a kick between its match and its signal.
            let signalled = target.notifier.notify();
            signalled.map_err(|source| Error::Signal {
                key: target.key,
                source,
            })?;
            rang = true;
        }
        Ok(match (rang, missed) {
            (false, _) => Rung::None,
            (true, true) => Rung::Some,
            (true, false) => Rung::All,
        })
    }

    /// The key of the doorbell that [`on_exit_write`](Self::on_exit_write) would signal, if the write
    /// is one that KVM looks up in one piece. Nothing is signalled.
    #[must_use]
    pub fn find(&self, address: IoAddress, bytes: &[u8]) -> Option<u64> {
        let matcher = self.matcher.read().unwrap_or_else(PoisonError::into_inner);
        let mut pieces = pieces(address, bytes);
        let (at, piece) = pieces.next()?;
        match pieces.next() {
            None => Some(matcher.find(at, piece)?.key),
            Some(_) => None,
        }
    }
}

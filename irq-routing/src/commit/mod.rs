// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commits: from the edits of callers to the kernel's table.
//!
//! A caller stages edits ([`transaction`], [`message_edit`]) and submits them as a request, which
//! waits in the [`queue`]. A [`round`] takes the waiting requests, validates them ([`validation`]),
//! gives the [`kernel`] a table, and updates ours ([`entering`]).

pub(crate) mod edit;
mod entering;
pub(crate) mod failure;
pub(crate) mod kernel;
pub(crate) mod message_edit;
pub(crate) mod queue;
pub(crate) mod request;
mod round;
pub(crate) mod transaction;
mod validation;

use self::failure::{discard, guarded, raise};
use self::request::RequestKind;
use crate::{Error, RoutingTable, Transaction};

impl RoutingTable {
    /// Creates an empty transaction. It holds no lock; any number may exist at once.
    pub fn transaction(&self) -> Transaction {
        let spare = std::mem::take(&mut self.lock().spare_edits);
        Transaction::new(self.clone(), spare)
    }

    /// Gives the kernel the whole table again, with one ioctl.
    ///
    /// Call it after something else has replaced the kernel's table, as the initialisation of an
    /// arm64 GIC does.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that the kernel causes.
    pub fn recommit(&self) -> Result<(), Error> {
        self.submit(RequestKind::Recommit)
    }

    /// Translates every message again, and commits what has changed.
    ///
    /// Call it when the translation has changed, for example after the guest has invalidated
    /// entries of an emulated IOMMU. It issues one ioctl if anything has changed, and more if the
    /// kernel refuses a new translation. When it returns `Ok`, no signal follows an old
    /// translation. It must not be called while a lock is held that the translation takes.
    ///
    /// # Errors
    ///
    /// [`Error::Untranslated`]: the kernel refuses some new translations, or has no entry for them.
    /// It lists the GSIs. They are blocked, and all others are in force.
    ///
    /// [`Error::RouteHeld`]: a message is blocked or refused, and its route cannot be removed
    /// because of what is armed on it. For such GSIs the old translation is still in force; all
    /// others are in force or blocked.
    ///
    /// Otherwise those of [`Transaction::commit`] that the kernel causes. Then all old translations
    /// are still in force, or an unknown part of them if the search for a refused message failed.
    ///
    /// # Panics
    ///
    /// If the translation panics; then all old translations are still in force. If the VM panics;
    /// then the kernel's table is unknown until the next commit.
    pub fn retranslate(&self) -> Result<(), Error> {
        let routes = guarded(|| self.submit(RequestKind::Retranslate));
        let translated = self.lock().registered.translated();
        let messages = translated.iter().map(|callback| guarded(|| callback()));
        // Call all of them, also after a panic: old translations must not stay in force.
        let failed = messages.filter_map(Result::err).reduce(|first, other| {
            discard(other);
            first
        });
        let routes = match routes {
            Ok(routes) => routes,
            Err(failure) => return raise(failure),
        };
        match failed {
            Some(failure) => raise(failure),
            None => routes,
        }
    }

    /// Removes the routes that dropped leases left in the kernel, with at most one ioctl.
    ///
    /// Without this call the next commit that changes something removes them. For a VM that is
    /// being closed ([`Vm::retire`](notify_core::Vm::retire)) it does nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that the kernel causes.
    pub fn flush(&self) -> Result<(), Error> {
        self.submit(RequestKind::Flush)
    }

    pub(crate) fn submit(&self, kind: RequestKind) -> Result<(), Error> {
        self.shared.submit(kind, &mut Vec::new())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commits: how edits of callers become the kernel's table.
//!
//! A caller stages edits ([`transaction`], [`message_edit`]) and submits them as a request, which
//! waits in the [`queue`]. A [`round`] takes what waits, after [`validation`], gives it to the
//! [`kernel`], and [`entering`] updates the table.

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
    /// Starts a transaction. It holds no lock, and there may be any number at once.
    pub fn transaction(&self) -> Transaction {
        let spare = std::mem::take(&mut self.lock().spare_edits);
        Transaction::new(self.clone(), spare)
    }

    /// Gives the kernel the whole table again, with one ioctl: after something else has replaced
    /// it, as the initialisation of an arm64 GIC does.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`] that the kernel causes.
    pub fn recommit(&self) -> Result<(), Error> {
        self.submit(RequestKind::Recommit)
    }

    /// Translates every message anew, and gives the kernel what has changed, with one ioctl if
    /// anything has: after the tables of an emulated IOMMU have changed, for instance. When this
    /// returns, no signal follows an old translation.
    ///
    /// # Errors
    ///
    /// [`Error::Untranslated`] names those whose new translation the kernel refuses, or has no
    /// entry for. They are blocked, and all others are in force. [`Error::RouteHeld`] names a GSI
    /// whose message is blocked, or refused, while its route cannot go: its old translation is
    /// still in force, and that of others that are held. All others are in force or blocked.
    /// Otherwise those of [`Transaction::commit`] that the kernel causes; then all old translations
    /// are still in force, or an unknown part of them if the search for a refused message failed.
    ///
    /// # Panics
    ///
    /// If the translation does; then all old translations are still in force. If the VM does; then
    /// what is in force is unknown until the next commit.
    pub fn retranslate(&self) -> Result<(), Error> {
        let routes = guarded(|| self.submit(RequestKind::Retranslate));
        let translated = self.lock().registered.translated();
        let messages = translated.iter().map(|callback| guarded(|| callback()));
        // All of them, also after a panic: old translations must not stay in force.
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

    /// Removes the routes that dropped leases left in the kernel, with one ioctl if there are any.
    /// Otherwise the next commit that changes something does it. For a VM that is being closed this
    /// does nothing.
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Sender`]: how the message of a line reaches the guest.

use std::io;
use std::sync::Arc;

use irq_routing::Line;
use notify_core::{EventNotifier, LineStatus};

use super::held::Held;
use crate::Error;
use crate::builder::explain;

/// Sends the message of a GSI: by KVM_IRQ_LINE, which returns what became of it. Where the port has
/// no such call (`Unsupported`), by an irqfd of the line's own.
///
/// The irqfd is bound when it is first needed, and unbound while the redirection entry is masked or
/// the line is paused, as those of exported devices are.
#[derive(Debug, Default)]
pub(super) struct Sender(Option<Own>);

/// An eventfd that only the line signals.
#[derive(Debug)]
struct Own {
    trigger: Arc<EventNotifier>,
    bound: bool,
}

impl Sender {
    /// Sends the message once. After an error nothing was sent.
    pub(super) fn send(&mut self, held: &Held) -> Result<LineStatus, Error> {
        let line = held.line().gsi().number();
        if let Some(own) = &mut self.0 {
            return own.send(held);
        }
        match held.line().table().vm().irq_line_status(line, true) {
            Err(source) if source.kind() == io::ErrorKind::Unsupported => {
                self.0.insert(Own::new(held.line())?).send(held)
            }
            result => result.map_err(|source| Error::SetLevel { line, source }),
        }
    }

    /// Unbinds the irqfd, if there is one. When this returns nothing of it is under way.
    pub(super) fn unbind(&mut self, held: &Held) -> Result<(), Error> {
        match &mut self.0 {
            Some(own) if own.bound => own.unbind(held),
            _ => Ok(()),
        }
    }
}

impl Own {
    fn new(line: &Line) -> Result<Self, Error> {
        let line = line.gsi().number();
        let trigger =
            EventNotifier::new().map_err(|source| Error::LineNotifier { line, source })?;
        Ok(Self {
            trigger: Arc::new(trigger),
            bound: false,
        })
    }

    fn send(&mut self, held: &Held) -> Result<LineStatus, Error> {
        let (line, bound) = (held.line(), held.bound());
        if !self.bound {
            let assigned = bound.assign(line, &self.trigger, None);
            assigned.map_err(|source| explain(&**line.table().vm(), line.gsi(), source))?;
            self.bound = true;
        }
        // The translation blocks the message. It is lost, as one of KVM_IRQ_LINE is.
        if bound.is_blocked() {
            return Ok(LineStatus::Ignored);
        }
        let line = line.gsi().number();
        let sent = self.trigger.notify();
        sent.map_err(|source| Error::LineNotifier { line, source })?;
        Ok(LineStatus::Unknown)
    }

    fn unbind(&mut self, held: &Held) -> Result<(), Error> {
        let gsi = held.line().gsi();
        let unbound = held.bound().deassign(held.line(), &self.trigger);
        unbound.map_err(|source| Error::Deassign { gsi, source })?;
        self.bound = false;
        Ok(())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How the trigger of a device is bound to the GSI of its line, and taken off.

use std::io;
use std::sync::Arc;

use irq_routing::Line;
use notify_core::EventNotifier;

use super::members::Member;
use crate::bound::Bound;
use crate::builder::explain;
use crate::{Error, NoResample};

/// Binds a member's trigger, unless it is bound, so that an EOI signals its resample notifier.
pub(super) fn bind(line: &Line, bound: &Bound, member: &mut Member) -> Result<(), Error> {
    let resample = member.resample.clone();
    match resample {
        Some(_) if !member.bound => assign(line, bound, member, resample.as_ref()),
        _ => Ok(()),
    }
}

/// Binds a member's trigger, whose signals send a message.
pub(super) fn bind_message(line: &Line, bound: &Bound, member: &mut Member) -> Result<(), Error> {
    match member.bound {
        true => Ok(()),
        false => assign(line, bound, member, None),
    }
}

fn assign(
    line: &Line,
    bound: &Bound,
    member: &mut Member,
    resample: Option<&Arc<EventNotifier>>,
) -> Result<(), Error> {
    let Some(trigger) = &member.trigger else {
        return Ok(());
    };
    let assigned = bound.assign(line, trigger, resample);
    assigned.map_err(|source| refused(line, resample.is_some(), source))?;
    member.bound = true;
    Ok(())
}

/// Turns a refusal into an error that says as much as can be found out.
fn refused(line: &Line, resample: bool, source: io::Error) -> Error {
    let gsi = line.gsi();
    if resample && source.kind() == io::ErrorKind::Unsupported {
        let reason = NoResample::Unsupported(source);
        return Error::NoResample { gsi, reason };
    }
    explain(&**line.table().vm(), gsi, source)
}

/// Takes a member's trigger off, if it is bound.
pub(super) fn unbind(line: &Line, bound: &Bound, member: &mut Member) -> Result<(), Error> {
    if let Some(trigger) = member.trigger.as_ref().filter(|_| member.bound) {
        let gsi = line.gsi();
        let unbound = bound.deassign(line, trigger);
        unbound.map_err(|source| Error::Deassign { gsi, source })?;
        member.bound = false;
    }
    Ok(())
}

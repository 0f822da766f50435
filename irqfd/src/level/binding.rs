// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How the trigger of a device is bound to the GSI of its line, and taken off.

use std::io;
use std::sync::Arc;

use irq_routing::Line;
use notify_core::EventNotifier;

use super::members::Member;
use super::{LevelError, NoResample};
use crate::IrqFdError;
use crate::edge::Bound;

/// Binds a member's trigger, unless it is bound, so that an EOI signals its resample notifier.
pub(super) fn bind(line: &Line, bound: &Bound, member: &mut Member) -> Result<(), LevelError> {
    let resample = member.resample.clone();
    match resample {
        Some(_) if !member.bound => assign(line, bound, member, resample.as_ref()),
        _ => Ok(()),
    }
}

/// Binds a member's trigger, whose signals send a message.
pub(super) fn bind_message(
    line: &Line,
    bound: &Bound,
    member: &mut Member,
) -> Result<(), LevelError> {
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
) -> Result<(), LevelError> {
    let Some(trigger) = &member.trigger else {
        return Ok(());
    };
    let assigned = bound.assign(line, trigger, resample);
    assigned.map_err(|error| refused(line, resample.is_some(), error))?;
    member.bound = true;
    Ok(())
}

/// Finds the cause of a refusal.
fn refused(line: &Line, resample: bool, error: io::Error) -> LevelError {
    let gsi = line.gsi();
    if resample && error.kind() == io::ErrorKind::Unsupported {
        let cause = error.into();
        let reason = NoResample::Unsupported { cause };
        return LevelError::NoResample { gsi, reason };
    }
    IrqFdError::refused(&**line.table().vm(), gsi, error).into()
}

/// Takes a member's trigger off, if it is bound.
pub(super) fn unbind(line: &Line, bound: &Bound, member: &mut Member) -> Result<(), LevelError> {
    if let Some(trigger) = member.trigger.as_ref().filter(|_| member.bound) {
        let gsi = line.gsi();
        let unbound = bound.deassign(line, trigger);
        unbound.map_err(|error| IrqFdError::not_unbound(gsi, error))?;
        member.bound = false;
    }
    Ok(())
}

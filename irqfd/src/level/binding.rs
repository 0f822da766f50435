// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How the trigger of a device is bound to the GSI of its line, and taken off.

use std::os::fd::AsFd;

use irq_routing::Line;
use notify_core::IrqFdRequest;

use super::members::Member;
use crate::Error;
use crate::builder::explain;
use crate::edge::disarm;

/// Binds a member's trigger, so that an EOI signals its resample notifier.
pub(super) fn bind(line: &Line, member: &mut Member) -> Result<(), Error> {
    let (Some(trigger), Some(resample)) = (&member.trigger, &member.resample) else {
        return Ok(());
    };
    let gsi = line.gsi().number();
    let request = IrqFdRequest::assign_resample(trigger.as_fd(), gsi, resample.as_fd());
    assign(line, &request)?;
    bound(member);
    Ok(())
}

/// Binds a member's trigger, whose signals send a message.
pub(super) fn bind_message(line: &Line, member: &mut Member) -> Result<(), Error> {
    let Some(trigger) = member.trigger.as_ref().filter(|_| !member.bound) else {
        return Ok(());
    };
    let gsi = line.gsi().number();
    assign(line, &IrqFdRequest::assign(trigger.as_fd(), gsi))?;
    bound(member);
    Ok(())
}

fn assign(line: &Line, request: &IrqFdRequest<'_>) -> Result<(), Error> {
    let vm = line.table().vm();
    vm.irqfd(request)
        .map_err(|source| explain(&**vm, line.gsi(), source))
}

fn bound(member: &mut Member) {
    member.bound = true;
    if let Some(trigger) = &member.trigger
        && trigger.is_full().unwrap_or(false)
    {
        // It was delivered. If it cannot be read, it stays full.
        let _ = trigger.consume();
    }
}

/// Takes a member's trigger off, if it is bound.
pub(super) fn unbind(line: &Line, member: &mut Member) -> Result<(), Error> {
    if let Some(trigger) = member.trigger.as_ref().filter(|_| member.bound) {
        disarm(line, trigger)?;
        member.bound = false;
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Parts of the texts of [`Error`](super::Error).

use notify_core::SysError;

use super::Holder;
use crate::{Gsi, Platform};

pub(super) fn why_unknown(platform: Option<Platform>) -> String {
    match platform {
        Some(platform) => format!("KVM does not report how many pins the VM has ({platform})"),
        None => "the VM does not report which interrupt controllers it has".to_owned(),
    }
}

/// The wiring of a table for a VM.
pub(super) fn wiring_for(vm: Platform) -> &'static str {
    match vm {
        Platform::X86 => "Wiring::kernel_default_x86()",
        Platform::X86Split => "Wiring::none(Platform::X86Split)",
        Platform::Arm64Gic => "Wiring::gic",
        Platform::Riscv64Aia => "Wiring::aia",
    }
}

pub(super) fn pins_elsewhere(platform: Platform) -> &'static str {
    match platform {
        Platform::X86Split => {
            "; the pins of a split irqchip are in the VMM, so route messages instead"
        }
        _ => "",
    }
}

pub(super) fn after_colon(cause: Option<&SysError>) -> String {
    cause.map_or_else(String::new, |cause| format!(": {cause}"))
}

pub(super) fn wanted_gsis(wanted: u32) -> String {
    match wanted {
        1 => "no GSI is free".to_owned(),
        _ => format!("no {wanted} GSIs in a row are free"),
    }
}

/// The holders of most leases; all of them could be thousands.
pub(super) fn held_by(holders: &[Holder]) -> String {
    const NAMED: usize = 4;
    if holders.is_empty() {
        return String::new();
    }
    let name = |holder: &Holder| format!("{} by {}", holder.leases, holder.name);
    let mut parts: Vec<String> = holders.iter().take(NAMED).map(name).collect();
    let rest = holders.iter().skip(NAMED).map(|holder| holder.leases);
    match rest.sum::<usize>() {
        0 => {}
        rest => parts.push(format!("{rest} by others with a name")),
    }
    format!(" ({})", parts.join(", "))
}

pub(super) fn describe(edits: usize, first: Option<Gsi>) -> String {
    match (edits, first) {
        (1, Some(gsi)) => format!("a new route of GSI {gsi}"),
        (_, Some(gsi)) => format!("{edits} new routes, the first of GSI {gsi}"),
        (_, None) => "nothing new in it".to_owned(),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The functions that can fail and that no row names, so that a new one is not forgotten.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::row::Section;

/// Functions that no row names, with the reason.
const UNMET: [(&str, &[&str]); 5] = [
    (
        "they make no system call",
        &[
            "Line::into_lease",
            "PciModern::doorbells",
            "RoutingTable::claim",
            "Snapshot::registers",
            "Wiring::aia",
            "Wiring::gic",
            "virtio::mmio",
            "virtio::pci_legacy",
        ],
    ),
    (
        "the VMM implements them",
        &[
            "Controller::set_level",
            "Handler::handle",
            "IntxDevice::mask",
            "IntxDevice::set_trigger",
            "IntxDevice::set_unmask",
            "IntxDevice::unmask",
            "VringBackend::set_call",
            "VringBackend::set_err",
            "VringBackend::set_kick",
        ],
    ),
    (
        "each is one request, that of the rows of the crates above",
        &[
            "Vm::ioeventfd",
            "Vm::irq_line",
            "Vm::irq_line_status",
            "Vm::irqfd",
            "Vm::set_gsi_routing",
            "Vm::signal_msi",
        ],
    ),
    (
        "rows have them by another name: a turn, a first unmask, an export, a lease",
        &[
            "Binding::call",
            "Dispatcher::run_once",
            "RoutingTable::lease_if_free",
            "Vector::set_message",
            "Vector::unmask",
        ],
    ),
    (
        "rows have what they are made of",
        &[
            "GsiLease::into_registered_line",
            "KvmVcpu::from_fd",
            "KvmVm::from_fd",
        ],
    ),
];

/// The functions of a crate that can fail, as "type::function".
fn fallible(package: &str) -> Vec<String> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let items = std::fs::read_to_string(workspace.join(package).join("public-api.txt")).unwrap();
    let functions = items.lines().filter(|line| line.contains("Result<"));
    let function = |line: &str| {
        let path = without_generics(line.strip_prefix("pub fn ")?);
        let mut parts = path.split_once('(')?.0.rsplit("::");
        let (function, owner) = (parts.next()?, parts.next()?);
        Some(format!("{owner}::{function}"))
    };
    functions.filter_map(function).collect()
}

fn without_generics(line: &str) -> String {
    let mut depth = 0;
    let is_outside = |c: &char| {
        depth += i32::from(*c == '<');
        let is_outside = depth == 0;
        depth -= i32::from(*c == '>');
        is_outside
    };
    line.chars().filter(is_outside).collect()
}

/// Checks that a row names each function that can fail, or this list does.
pub(super) fn check(rows: &BTreeSet<String>) {
    let packages = ["notify-core", "irq-routing", "irqfd", "ioeventfd"];
    let functions = packages.into_iter().flat_map(fallible);
    let is_met = |function: &String| {
        function
            .rsplit("::")
            .next()
            .is_some_and(|it| rows.contains(it))
    };
    let unmet: BTreeSet<_> = functions.filter(|function| !is_met(function)).collect();
    let listed = UNMET.into_iter().flat_map(|(_, functions)| functions);
    let listed: BTreeSet<_> = listed.map(|function| (*function).to_owned()).collect();
    let forgotten: Vec<_> = unmet.difference(&listed).collect();
    assert!(forgotten.is_empty(), "no row has {forgotten:?}");
    let met: Vec<_> = listed.difference(&unmet).collect();
    assert!(
        met.is_empty(),
        "they are met, or there is no such function: {met:?}"
    );
}

/// The names of functions in the operations of the rows.
pub(super) fn names(sections: &[Section]) -> BTreeSet<String> {
    let operations = sections.iter().flat_map(|section| &section.rows);
    // Code is every second part.
    let code = operations.flat_map(|row| row.operation.split('`').skip(1).step_by(2));
    let words = code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words.map(str::to_owned).collect()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Prints a routing table as text, its problems, and an explanation of each GSI.
//!
//! ```sh
//! cargo run -p irq-routing --example bug_report            # the table of a simulated VM
//! cargo run -p irq-routing --example bug_report table.txt  # a table from a bug report
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use irq_routing::{Dump, IrqChip, MsiMessage, Pin, RoutingTable, Wiring};
use notify_sim::SimVm;

/// Returns what a VMM prints into a bug report.
fn report() -> Result<String, irq_routing::Error> {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
    // Two mistakes: a local APIC never delivers vector 5, and the pin belongs to GSI 10 already.
    let _lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 5))?;
    let mut transaction = table.transaction();
    transaction.wire(table.gsi(25)?, Pin::new(IrqChip::IoApic, 10)?);
    transaction.commit()?;
    Ok(table.dump().to_string())
}

fn main() -> Result<(), Box<dyn Error>> {
    let text = match std::env::args().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => report()?,
    };
    print!("{text}");

    let dump: Dump = text.parse()?;
    for problem in dump.problems() {
        println!("problem: {problem}");
    }
    let gsis: BTreeSet<_> = dump.entries().iter().map(|entry| entry.gsi).collect();
    for gsi in gsis {
        println!("GSI {gsi}: {}", dump.explain(gsi));
    }
    Ok(())
}

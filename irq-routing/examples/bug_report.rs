// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An interrupt does not arrive: the table as text, and what is wrong with it.
//!
//! ```sh
//! cargo run -p irq-routing --example bug_report            # of a simulated VM
//! cargo run -p irq-routing --example bug_report table.txt  # of a bug report
//! ```

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use irq_routing::{Dump, IrqChip, MsiMessage, Pin, RoutingTable, Wiring};
use notify_sim::SimVm;

/// What a VMM prints into a bug report.
fn report() -> Result<String, irq_routing::Error> {
    let vm = Arc::new(SimVm::builder().build());
    let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
    // Vector 5 is none that a local APIC delivers, and GSI 10 has this pin already.
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

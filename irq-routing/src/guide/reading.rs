// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Read a table: why an interrupt does not arrive, and what belongs in a bug report.
//!
//! KVM loses a signal without an error in several cases: no route, a route that it never delivers,
//! a number out of range. Three tools show the case:
//!
//! | tool | use it |
//! |---|---|
//! | [`RoutingTable::explain`](crate::RoutingTable::explain) | in the VMM, for one GSI |
//! | [`RoutingTable::dump`](crate::RoutingTable::dump), [`Dump`](crate::Dump) | in a bug report; it can be read back |
//! | the program `routing` of the repository | to show a dump to people |
//!
//! # Explain one GSI
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::SimVm;
//!
//! let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
//! let good = table.lease_msi(MsiMessage::new(0xfee0_1000, 0x41))?;
//! let bad = table.lease_msi(MsiMessage::new(0xfee0_1000, 5))?;
//!
//! assert_eq!(
//!     table.explain(good.gsi()).to_string(),
//!     "on the spot: fixed interrupt, vector 0x41, to APIC 1 (physical destination)"
//! );
//! assert!(table.explain(bad.gsi()).is_lost()); // vectors below 16 are never delivered
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! | the explanation starts with | meaning |
//! |---|---|
//! | `on the spot:` | KVM injects before the write to the eventfd returns |
//! | `by a worker thread (...):` | KVM injects soon, and coalesces signals until then |
//! | `lost:` | the guest never gets the signal; the reason follows |
//! | `unknown:` | nothing was committed yet |
//!
//! What follows after a `;` are hints: for example a message that is all zero, which the guest has
//! not programmed. With `{:#}` each hint has a line of its own. The text is for people; code that
//! decides uses [`kernel_route`](crate::RoutingTable::kernel_route).
//!
//! If the explanation shows a correct route, the cause is elsewhere: in the vector (masked, not
//! armed), in the device (no trigger), or in the guest. `irqfd::guide::no_interrupt` has the causes
//! by symptom.
//!
//! # A dump
//!
//! A dump is the table as text, one entry a line, with the numbers of KVM's own structs. Print it
//! into every bug report: `println!("{table}")`.
//!
//! ```text
//! gsi=4 type=1 0 4                                  GSI 4: pin 4 of chip 0, the first PIC
//! gsi=4 type=1 2 4                                  GSI 4: and pin 4 of chip 2, the IOAPIC
//! gsi=24 type=2 address=0xfee01000 data=0x41        GSI 24: a message
//! chip:                                             the reverse map: which GSI
//! {-1, -1, -1, -1, 4, ...}                          gets the EOIs of each pin
//! ```
//!
//! It can be read back, also if it is of a broken table or was edited by hand:
//!
//! ```
//! use irq_routing::Dump;
//!
//! let dump: Dump = "
//!     gsi=10 type=1 2 10
//!     gsi=25 type=1 2 10      # a second GSI on the pin
//!     gsi=26 type=2 address=0 data=0
//! ".parse()?;
//!
//! let problems: Vec<_> = dump.problems().iter().map(ToString::to_string).collect();
//! assert_eq!(
//!     problems,
//!     ["GSI 10 and GSI 25 are both routed to IOAPIC pin 10: only GSI 25, the last in the table, \
//!       gets its EOIs"]
//! );
//! assert!(dump.explain(26).is_lost(), "vector 0: the guest has not programmed the message");
//! # Ok::<(), irq_routing::ParseError>(())
//! ```
//!
//! [`Problem::is_refused`](crate::Problem::is_refused) distinguishes what KVM refuses from what is
//! only unusual.
//!
//! # The program `routing`
//!
//! In the repository, `cargo run --bin routing` explains the table of a fresh PC, and
//! `cargo run --bin routing -- dump.txt` one from a bug report. It prints, in this order:
//!
//! ```text
//! what would be lost           signals that KVM drops, and why
//! what is unusual              shared pins, refused entries, differences from a known PC
//! what each GSI is routed to   a picture: a dot for each chip, or for a message
//! in detail                    the explanation of each GSI
//! ```
//!
//! `--gsi 24` explains one GSI, `--json` prints an object for scripts, and `-` reads standard
//! input. The exit code is 1 if KVM refuses the table.
//!
//! # A bug report
//!
//! 1. `println!("{table}")`: the table as committed.
//! 2. `table.explain(gsi)` and `table.kernel_route(gsi)` for the GSI in question.
//! 3. What an [`Observer`](crate::Observer) has counted: commits, refusals, vectors opened.
//! 4. The kernel's version, and whether the VM has a full or a split irqchip.
//!
//! The example `bug_report` of the crate prints and reads such a report.

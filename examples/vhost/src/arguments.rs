// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Command line arguments that both programs take.

use bpaf::{Parser, long};

/// `--changes`; 60 if not given.
pub fn changes() -> impl Parser<u32> {
    let name = long("changes").help(
        "How many times the guest changes its device in mid-traffic: masks or retargets a vector, \
         moves a queue or the BAR, resets the device, goes on in another VM",
    );
    name.argument("COUNT").fallback(60).display_fallback()
}

/// `--snapshots`; none if not given.
pub fn snapshots() -> impl Parser<Option<u32>> {
    let name = long("snapshots").help(
        "How many times the VMM saves the VM in mid-traffic, at moments drawn at random, and \
         continues in another one [default: one for 5000 packets]",
    );
    name.argument("COUNT").optional()
}

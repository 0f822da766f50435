// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Histories that once failed, as the tools printed them.

mod doorbells;
mod lines;
mod msix_guest;
mod routing_commits;

use kvm_test::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = msix_guest::trials();
    trials.extend(doorbells::trials());
    trials.extend(routing_commits::trials());
    trials.extend(lines::trials());
    trials
}

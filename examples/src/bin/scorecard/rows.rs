// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which rows there are. They run guests and machines of x86, so elsewhere there are none.

use std::error::Error;

#[cfg(target_arch = "x86_64")]
use crate::msix::{bringup, limit, retarget, trigger};
use crate::row::Row;
#[cfg(target_arch = "x86_64")]
use crate::{commit, kick, notify, retire, sim};

/// What measures a row.
pub(crate) type Measure = fn() -> Result<Row, Box<dyn Error>>;

#[cfg(target_arch = "x86_64")]
pub(crate) const ROWS: &[(&str, Measure)] = &[
    ("a_a", notify::against_itself),
    ("notify", notify::against_write),
    ("kick", kick::against_exit),
    ("commit_one_of_4096", commit::one_of_4096),
    ("msix_bringup_64", || bringup::total(64)),
    ("msix_bringup_256", || bringup::total(256)),
    ("msix_bringup_1024", || bringup::total(1024)),
    ("msix_bringup_2048", || bringup::total(2048)),
    ("msix_bringup_2048_vcpu", || bringup::on_the_vcpu(2048)),
    ("msix_bringup_2048_limit", || limit::of_bring_up(2048)),
    ("msix_retarget_internal", retarget::internal),
    ("msix_retarget_exported_64", || retarget::exported(64)),
    ("msix_trigger_internal", trigger::internal),
    ("msix_trigger_exported", trigger::exported),
    ("msix_trigger_vs_irqfd", trigger::against_irqfd),
    ("msix_trigger_masked", trigger::masked),
    ("retire", retire::against_one_by_one),
    ("sim_irqfd", sim::irqfd),
    ("sim_commit_4096", sim::commit_4096),
    ("sim_guest_write_1000", sim::guest_write_1000),
];

#[cfg(not(target_arch = "x86_64"))]
pub(crate) const ROWS: &[(&str, Measure)] = &[];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|(name, _)| *name)
}

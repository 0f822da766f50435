// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The list of all rows. They run x86 guests and VMs, so elsewhere there are none.

use std::error::Error;

#[cfg(target_arch = "x86_64")]
use crate::msix::{bringup, hostile, limit, retarget, trigger};
#[cfg(target_arch = "x86_64")]
use crate::routing::{batch, dbs, group, memory, one, rebuild, share};
use crate::row::Row;
#[cfg(target_arch = "x86_64")]
use crate::{
    dispatch, dispatch_neighbour, dispatch_polling, doorbells, doorbells_then_slots, inject, kick,
    level, notify, retire, sim, vhost,
};

/// The function that measures a row.
pub(crate) type Measure = fn() -> Result<Row, Box<dyn Error>>;

/// Rows that belong together and have the same unit.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    /// The name of its plot.
    pub(crate) file: &'static str,
    pub(crate) rows: &'static [(&'static str, Measure)],
}

#[cfg(target_arch = "x86_64")]
pub(crate) const GROUPS: &[Group] = &[
    Group {
        title: "Signals",
        file: "signals",
        rows: &[
            ("a_a", notify::against_itself),
            ("notify", notify::against_write),
            ("kick", kick::against_exit),
        ],
    },
    Group {
        title: "Commits of the routing table",
        file: "commits",
        rows: &[
            ("commit_one_of_4096", one::of_4096),
            ("commit_vs_dbs_64", || dbs::one_of(64)),
            ("commit_vs_dbs_1024", || dbs::one_of(1024)),
            ("commit_vs_rebuild_64", || rebuild::one_of(64)),
            ("commit_vs_rebuild_1024", || rebuild::one_of(1024)),
            ("commit_vs_rebuild_4096", || rebuild::one_of(4096)),
            ("commit_user_share_64", || share::of(64)),
            ("commit_user_share_4096", || share::of(4096)),
            ("group_commit_8x256", group::eight_by_256),
            ("bringup_batch_2048", batch::bring_up),
            ("teardown_2048", batch::tear_down),
        ],
    },
    Group {
        title: "Memory of the routing table",
        file: "memory",
        rows: &[("memory_4096", memory::of_4096)],
    },
    Group {
        title: "MSI-X vectors",
        file: "vectors",
        rows: &[
            ("msix_bringup_64", || bringup::total(64)),
            ("msix_bringup_256", || bringup::total(256)),
            ("msix_bringup_1024", || bringup::total(1024)),
            ("msix_bringup_2048", || bringup::total(2048)),
            ("msix_bringup_2048_vcpu", || bringup::on_the_vcpu(2048)),
            ("msix_bringup_2048_limit", || limit::of_bring_up(2048)),
            ("msix_retarget_internal", retarget::internal),
            ("msix_retarget_vs_dbs_1024", retarget::against_dbs),
            ("msix_retarget_armed", retarget::armed),
            ("msix_retarget_exported_64", || retarget::exported(64)),
            ("msix_retarget_far_64", || retarget::exported_far(64)),
            ("msix_trigger_internal", trigger::internal),
            ("msix_trigger_exported", trigger::exported),
            ("msix_trigger_private", trigger::private),
            ("msix_trigger_vs_irqfd", trigger::against_irqfd),
            ("msix_trigger_masked", trigger::masked),
            ("hostile_2040", || hostile::delay(2040)),
        ],
    },
    Group {
        title: "Injection without an eventfd",
        file: "injection",
        rows: &[
            ("inject_msi", inject::message),
            ("inject_line", inject::line),
            ("inject_line_status", inject::line_status),
            ("inject_interrupt", inject::interrupt),
        ],
    },
    Group {
        title: "Level-triggered lines",
        file: "lines",
        rows: &[
            ("level_roundtrip", level::against_exit),
            ("shared_16", level::shared_by_16),
        ],
    },
    Group {
        title: "Devices of vhost",
        file: "vhost",
        rows: &[
            ("vhost_user_roundtrip", vhost::user),
            ("vhost_vsock_roundtrip", vhost::vsock),
        ],
    },
    Group {
        title: "Doorbells",
        file: "doorbells",
        rows: &[
            ("relocate_64", doorbells::relocate_64),
            ("apply_1000", doorbells::apply_1000),
            ("plan_1000_10", doorbells::plan_1000_10),
            ("fallback_match_1000", doorbells::fallback_match_1000),
            ("start_stop_64", doorbells::start_stop_64),
            ("doorbells_then_slots", doorbells_then_slots::slots_first),
            ("retire", retire::against_one_by_one),
        ],
    },
    Group {
        title: "The dispatcher",
        file: "dispatcher",
        rows: &[
            ("dispatch_ready", dispatch::ready),
            ("dispatch_10000", dispatch::one_of_10000),
            ("dispatch_polling_20k", dispatch_polling::at_20k),
            ("dispatch_polling_50k", dispatch_polling::at_50k),
            ("dispatch_polling_50k_32us", dispatch_polling::at_50k_32us),
            ("dispatch_polling_100k", dispatch_polling::at_100k),
            ("dispatch_polling_200k", dispatch_polling::at_200k),
            (
                "dispatch_polling_neighbour",
                dispatch_neighbour::beside_busy_loops,
            ),
        ],
    },
    Group {
        title: "The simulator, against KVM",
        file: "simulator",
        rows: &[
            ("sim_irqfd", sim::irqfd),
            ("sim_commit_4096", sim::commit_4096),
            ("sim_guest_write_1000", sim::guest_write_1000),
        ],
    },
];

#[cfg(not(target_arch = "x86_64"))]
pub(crate) const GROUPS: &[Group] = &[];

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    let rows = GROUPS.iter().flat_map(|group| group.rows);
    rows.map(|(name, _)| *name)
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The targets: kinds of histories.

pub mod dispatcher;
pub mod doorbells;
pub mod driven;
pub mod lines;
pub mod msix_guest;
pub mod parse;
pub mod routing;
pub mod vhost;

use crate::{Target, check};

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "dispatcher",
        needs_kvm: false,
        check: check::<dispatcher::Dispatchers>,
    },
    Target {
        name: "doorbells",
        needs_kvm: false,
        check: check::<doorbells::Doorbells>,
    },
    Target {
        name: "driven",
        needs_kvm: false,
        check: check::<driven::Driven>,
    },
    Target {
        name: "lines",
        needs_kvm: false,
        check: check::<lines::Lines>,
    },
    Target {
        name: "msix_guest",
        needs_kvm: false,
        check: check::<msix_guest::MsixGuest>,
    },
    Target {
        name: "parse",
        needs_kvm: false,
        check: check::<parse::Parse>,
    },
    Target {
        name: "routing_commits",
        needs_kvm: false,
        check: check::<routing::RoutingCommits>,
    },
    #[cfg(target_arch = "x86_64")]
    Target {
        name: "routing_commits_kvm",
        needs_kvm: true,
        check: check::<routing::RoutingCommitsKvm>,
    },
    Target {
        name: "vhost",
        needs_kvm: false,
        check: check::<vhost::Vhost>,
    },
];

/// Returns the target of this name.
#[must_use]
pub fn of_name(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

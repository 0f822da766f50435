// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The kinds of histories.

pub mod doorbells;
pub mod driven;

use crate::{Target, check};

/// All of them.
pub const TARGETS: &[Target] = &[
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
];

/// The one of this name.
#[must_use]
pub fn of_name(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}

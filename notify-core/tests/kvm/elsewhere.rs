// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Other architectures have no tests of their own.

pub(crate) fn trials() -> Vec<kvm_test::Trial> {
    Vec::new()
}

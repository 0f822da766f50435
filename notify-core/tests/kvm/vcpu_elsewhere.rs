// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM_INTERRUPT is tested on x86-64.

pub(crate) fn trials() -> Vec<kvm_test::Trial> {
    Vec::new()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Needs `/dev/kvm` and an x86 host.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = histories::targets::of_name("routing_commits_kvm");
    (target.expect("this is an x86 host").check)(bytes);
});

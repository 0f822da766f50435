// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    histories::check::<histories::targets::dispatcher::Dispatchers>(bytes);
});

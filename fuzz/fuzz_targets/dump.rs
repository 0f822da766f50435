// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Texts that may be a routing table: a table that is read is printed again and explained.
#![no_main]

use irq_routing::Dump;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(dump) = text.parse::<Dump>() else {
        return;
    };
    assert_eq!(dump.to_string().parse().as_ref(), Ok(&dump));
    for problem in dump.problems() {
        assert!(!problem.to_string().is_empty());
    }
    for entry in dump.entries() {
        assert!(!dump.explain(entry.gsi).to_string().is_empty());
    }
});

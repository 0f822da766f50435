// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Batches: each resumes the vectors that have joined it last.

use irqfd::ResumeBatch;

use super::{expect_state, exported, internal, table};

#[test]
fn a_vector_that_has_joined_another_batch_waits_for_that() {
    let (vm, table) = table();
    let (exported, _) = exported(&table, 0x41);
    for vector in [internal(&table, 0x40), exported] {
        vector.unmask().unwrap();
        vector.pause();
        vector.trigger().unwrap();
        let (mut first, mut second) = (ResumeBatch::default(), ResumeBatch::default());
        vector.resume_in(&mut first);
        vector.pause();
        vector.resume_in(&mut second);
        assert!(first.run().is_empty());
        expect_state(&vector, "Arming");
        vm.expect(&[]);
        assert!(second.run().is_empty());
        vm.expect(&[vector.message().data]);
    }
}

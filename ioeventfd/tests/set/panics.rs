// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM that panics, which it must not, in the middle of a change.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ioeventfd::{DoorbellRegistry, DoorbellSet};

use crate::common::*;
use crate::hooked::Hooked;

#[test]
fn the_next_plan_goes_on_from_there() {
    for nth in 1..=6 {
        let left = Arc::new(AtomicU32::new(0));
        let counting = Arc::clone(&left);
        let vm = Arc::new(Hooked::new(move || {
            let left = counting.load(Ordering::Relaxed);
            counting.store(left.saturating_sub(1), Ordering::Relaxed);
            assert!(left != 1, "a VM must not panic");
        }));
        let registry = DoorbellRegistry::new(vm.clone(), &[]);
        let set = DoorbellSet::new(&registry);
        let all = notifiers(3);
        have(&set, queues(BASE, &all));
        left.store(nth, Ordering::Relaxed);
        // The new places lie below the old ones.
        let panicked = catch_unwind(AssertUnwindSafe(|| change(&set, queues(ELSEWHERE, &all))));
        assert!(panicked.is_err());
        have(&set, queues(ELSEWHERE, &all));
        for queue in 0..3 {
            assert!(
                kernel_takes(&vm.vm, ELSEWHERE + queue * 4, &[0; 2]),
                "{nth}"
            );
            assert!(!kernel_takes(&vm.vm, BASE + queue * 4, &[0; 2]), "{nth}");
        }
        let other = DoorbellSet::new(&registry);
        have(&other, queues(BASE, &notifiers(3)));
        have(&other, []);
        // Once more, and dropped in that state.
        left.store(nth, Ordering::Relaxed);
        let panicked = catch_unwind(AssertUnwindSafe(|| change(&set, queues(BASE, &all))));
        assert!(panicked.is_err());
        drop(set);
        have(&other, queues(BASE, &notifiers(3)));
        have(&other, queues(ELSEWHERE, &notifiers(3)));
    }
}

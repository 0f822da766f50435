// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The result is the same while signal handlers run.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use kvm_probe::probe;
use vmm_sys_util::signal::{Killable, register_signal_handler};

extern "C" fn handle(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {}

/// KVM_CREATE_VM fails with EINTR if a signal is pending in the middle of it.
#[test]
fn a_signal_does_not_make_kvm_missing() {
    register_signal_handler(libc::SIGUSR1, handle).unwrap();
    let expected = probe().map_err(|why| why.to_string());
    let done = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&done);
    let prober = thread::spawn(move || {
        for _ in 0..3000 {
            assert_eq!(probe().map_err(|why| why.to_string()), expected);
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    while !prober.is_finished() {
        // One signal for each probe: a slow kernel would never get through a storm of them. This
        // fails if the thread has just ended.
        let before = done.load(Ordering::Relaxed);
        let _ = prober.kill(libc::SIGUSR1);
        while done.load(Ordering::Relaxed) == before && !prober.is_finished() {
            thread::yield_now();
        }
    }
    prober.join().unwrap();
}

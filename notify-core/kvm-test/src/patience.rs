// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`PATIENCE`] and [`wait_until`]: how tests wait for other threads.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for the next progress of something that works. It starts again at each
/// progress, and is far longer than any step takes on a loaded or emulated host. Such a host makes
/// a test slow, and only an event that never comes makes it fail.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Blocks until `condition` holds.
///
/// # Panics
///
/// If it does not hold within [`PATIENCE`].
#[track_caller]
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut waits = 0_u32;
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "what a test waits for did not come"
        );
        // Most events come at once; when one does not, the sleep leaves the processor to other
        // threads.
        if waits < 100 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_millis(1));
        }
        waits += 1;
    }
}

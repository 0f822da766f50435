// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ctrl-C: the run ends early, and the program reports what it has counted until then.

use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code of a program that SIGINT has ended: 128 and the number of the signal.
const CODE: u8 = 130;

/// A signal is sent to the whole process, so this is one for all of its threads.
static PENDING: AtomicBool = AtomicBool::new(false);

/// Catches SIGINT from now on. The first one makes [`is_pending`] true and then calls `act`; the
/// second one ends the program at once. Call this before the run begins.
///
/// # Errors
///
/// If the handler cannot be installed, or there is one.
pub fn catch(mut act: impl FnMut() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || {
        if PENDING.swap(true, Ordering::SeqCst) {
            process::exit(CODE.into());
        }
        act();
    })
}

/// Whether the run must end now. Loops that wait for a guest check this at least ten times a
/// second.
#[must_use]
pub fn is_pending() -> bool {
    PENDING.load(Ordering::SeqCst)
}

/// The exit code of a program whose run was interrupted.
#[must_use]
pub fn code() -> ExitCode {
    ExitCode::from(CODE)
}

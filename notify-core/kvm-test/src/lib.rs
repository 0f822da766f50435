// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs tests that need `/dev/kvm`, and says so where there is none.
//!
//! A trial made by [`kvm`] runs where `/dev/kvm` opens. Elsewhere it is reported as *ignored*, which
//! the summary counts, or fails if the environment has `REQUIRE_KVM=1`. Trials run one after the
//! other unless the command line says otherwise: some count the file descriptors of the process.
//!
//! [`Recorder`] is a machine that does nothing but remember, for tests of what is asked of one; [`Nothing`]
//! does not even remember.
//! [`Machine`] is a real one whose vCPU never runs, so that interrupts stay visible.

#[cfg(target_arch = "x86_64")]
mod bare;
#[cfg(target_arch = "x86_64")]
mod machine;
mod nothing;
mod recorder;
mod thread;

use std::fs::OpenOptions;
use std::io;
use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
pub use bare::{bare, split};
pub use libtest_mimic::{Failed, Trial};
#[cfg(target_arch = "x86_64")]
pub use machine::{Machine, Requests};
pub use nothing::Nothing;
pub use recorder::{Call, Recorder};
pub use thread::ThreadId;

/// Runs `trials` with the usual command line of a test binary.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that needs `/dev/kvm`. It fails by panicking, as any test does.
pub fn kvm(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let missing = open_kvm().err();
    let required = std::env::var_os("REQUIRE_KVM").is_some_and(|value| value == "1");
    let ignored = missing.is_some() && !required;
    let trial = Trial::test(name, move || match missing {
        Some(error) => Err(Failed::from(format!("/dev/kvm does not open: {error}"))),
        None => {
            run();
            Ok(())
        }
    });
    trial.with_kind("kvm").with_ignored_flag(ignored)
}

/// A test that runs anywhere, beside those that need `/dev/kvm`.
pub fn anywhere(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

/// How many file descriptors this process has open.
///
/// # Errors
///
/// Where `/proc` is not mounted.
pub fn open_fds() -> io::Result<usize> {
    // One of them is the directory that is being read.
    Ok(std::fs::read_dir("/proc/self/fd")?.count() - 1)
}

fn open_kvm() -> io::Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map(drop)
}

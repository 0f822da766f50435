// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs tests that need KVM, and reports them as ignored, with the reason, where there is none.
//!
//! A trial made by [`kvm`] runs where [`kvm_probe::probe`] finds that KVM works. Elsewhere it is
//! *ignored*, which the summary counts and [`main`] explains, or fails if the environment has
//! `REQUIRE_KVM=1`. Trials that also need an x86 guest or interrupt controller are ignored on other
//! architectures, see [`x86_only`]. Trials run one after the other unless the command line says
//! otherwise: some count the file descriptors of the process.
//!
//! [`Recorder`] is a VM that only records the calls to it; [`Nothing`] does not even record, and
//! [`NoIrqLine`] drives no line. [`refuse`] makes a system call fail, as a filter does, and
//! [`allow_only`] kills at all others. [`supervised`] carries out all calls of a thread, or lets
//! them fail. [`signal_from_kernel`] signals an eventfd as the kernel does. [`wait_until`] waits
//! for another thread. [`Terminal`] is a terminal for a program that a test starts. [`Machine`] is
//! a real VM whose vCPU never runs, so that interrupts stay visible.

#[cfg(target_arch = "x86_64")]
mod bare;
mod jail;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod machine;
mod no_irq_line;
mod nothing;
mod patience;
mod recorder;
mod signal;
mod supervise;
mod terminal;
mod thread;

use std::io;
use std::process::ExitCode;
use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
pub use bare::{bare, split};
pub use jail::{SystemCall, allow_only, jailed, refuse};
pub use kernel::{harmless_store, kernel, knows_logical_destinations};
pub use libtest_mimic::{Failed, Trial};
#[cfg(target_arch = "x86_64")]
pub use machine::{Machine, Requests};
pub use no_irq_line::NoIrqLine;
pub use nothing::Nothing;
pub use patience::{PATIENCE, wait_until};
pub use recorder::{Call, Recorder};
pub use signal::signal_from_kernel;
pub use supervise::{Attempt, supervised};
pub use terminal::Terminal;
pub use thread::ThreadId;

/// Why trials that need KVM cannot run here: found out once for all of them.
static MISSING: LazyLock<Option<String>> =
    LazyLock::new(|| kvm_probe::probe().err().map(|why| why.to_string()));

/// The kind of trials that need KVM, as the output shows it.
const KIND: &str = "kvm";

/// The kind of trials that are x86 code, on other architectures.
const KIND_X86: &str = "x86 only";

/// Returns the text of an errno, with its number. musl's texts differ from those of glibc, so a
/// test that compares a whole text gets it from here.
#[must_use]
pub fn os_text(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string()
}

/// Runs `trials` with the usual command line of a test binary.
pub fn main(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    let ignores = trials
        .iter()
        .any(|trial| trial.kind() == KIND && trial.has_ignored_flag());
    if let (Some(why), true) = (&*MISSING, ignores && !arguments.list) {
        eprintln!("tests that need KVM are ignored: {why}");
    }
    arguments.test_threads.get_or_insert(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if conclusion.has_failed() && kernel() > kernel::NEWEST_KNOWN {
        let release = kernel::release();
        eprintln!(
            "Linux {} is newer than those whose results are known",
            release.trim()
        );
    }
    conclusion.exit_code()
}

/// A test that needs KVM. It fails by panicking, as any test does.
pub fn kvm(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    let required = std::env::var_os("REQUIRE_KVM").is_some_and(|value| value == "1");
    let ignored = MISSING.is_some() && !required;
    let trial = Trial::test(name, move || match &*MISSING {
        Some(why) => Err(Failed::from(why.as_str())),
        None => {
            run();
            Ok(())
        }
    });
    trial.with_kind(KIND).with_ignored_flag(ignored)
}

/// A test that needs KVM and is x86 code: a guest, or a feature that only x86 interrupt controllers
/// have. It is ignored on other architectures.
pub fn kvm_x86(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    if cfg!(target_arch = "x86_64") {
        return kvm(name, run);
    }
    let trial = Trial::test(name, || Ok(()));
    trial.with_kind(KIND_X86).with_ignored_flag(true)
}

/// Stands for the trials of a suite that do not compile on other architectures than x86: ignored,
/// with the reason as its name.
pub fn x86_only(why: &str) -> Trial {
    let trial = Trial::test(why, || Ok(()));
    trial.with_kind(KIND_X86).with_ignored_flag(true)
}

/// A test that runs anywhere, in a suite with tests that need `/dev/kvm`.
pub fn anywhere(name: &str, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}

/// How many snapshots are taken by tests that count lost signals: `SNAPSHOT_ROUNDS` of the
/// environment, or 1000.
#[must_use]
pub fn snapshot_rounds() -> u32 {
    let rounds = std::env::var("SNAPSHOT_ROUNDS").ok();
    rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(1000)
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

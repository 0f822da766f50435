// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Trials`]: tests that are ignored, with the reason, where a device is missing.

use std::fs::File;
use std::io;

use kvm_test::{Failed, Trial};

use crate::tap::Tap;

pub(crate) const VSOCK: &str = "/dev/vhost-vsock";
pub(crate) const NET: &str = "/dev/vhost-net";

/// What a test needs.
#[derive(Clone, Copy)]
pub(crate) enum Needs {
    Device(&'static str),
    /// [`NET`], and a network interface for it.
    Tap,
}

impl Needs {
    /// The device, as test names begin with it, and as the output shows it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Device(VSOCK) => ("vsock", VSOCK),
            Self::Device(path) => ("net", path),
            Self::Tap => ("net", "tap"),
        }
    }

    /// Why the test cannot run here.
    fn missing(self) -> Option<String> {
        let open = |path: &str| match File::options().read(true).write(true).open(path) {
            Ok(_) => None,
            Err(error) => Some(format!("{path}: {error}")),
        };
        let tap = || io::Result::err(Tap::new()).map(|error| format!("no tap: {error}"));
        match self {
            Self::Device(path) => open(path),
            Self::Tap => open(NET).or_else(tap),
        }
    }
}

/// Creates tests with the same needs.
pub(crate) struct Trials {
    needs: Needs,
    missing: Option<String>,
    made: Vec<Trial>,
}

impl Trials {
    pub(crate) fn new(needs: Needs) -> Self {
        Self {
            needs,
            missing: needs.missing(),
            made: Vec::new(),
        }
    }

    /// Adds a test. Where its needs are missing, the test is ignored and its kind is the reason;
    /// with `REQUIRE_VHOST=1` it fails.
    pub(crate) fn add(&mut self, section: &str, name: &str, run: impl FnOnce() + Send + 'static) {
        let (device, kind) = self.needs.names();
        let required = std::env::var_os("REQUIRE_VHOST").is_some_and(|value| value == "1");
        let ignored = self.missing.is_some() && !required;
        let missing = self.missing.clone();
        let kind = missing.as_deref().unwrap_or(kind).to_owned();
        let trial = Trial::test(
            format!("{device}::{section}::{name}"),
            move || match missing {
                Some(why) => Err(Failed::from(why)),
                None => {
                    run();
                    Ok(())
                }
            },
        );
        let trial = trial.with_kind(kind).with_ignored_flag(ignored);
        self.made.push(trial);
    }

    pub(crate) fn made(self) -> Vec<Trial> {
        self.made
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`History`]: a kind of generated histories, and how to run one.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::{Arbitrary, Unstructured};
use examples::random::Random;

use crate::quiet;
use crate::shorten::shorten;

/// A kind of histories.
pub trait History {
    /// One operation. Its debug output is an expression of Rust.
    type Step: Debug + Clone + for<'a> Arbitrary<'a>;

    /// Carries out the steps beside the model. Panics only where code and model differ: any steps
    /// in any order are valid.
    fn run(steps: &[Self::Step]);
}

/// A kind of histories, without its type parameter.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, also that of the fuzz target and the corpus.
    pub name: &'static str,
    /// Whether it needs `/dev/kvm`.
    pub needs_kvm: bool,
    /// Runs the history that these bytes encode; see [`check`].
    pub check: fn(&[u8]) -> usize,
}

/// Returns the steps that these bytes encode.
#[must_use]
pub fn steps<H: History>(bytes: &[u8]) -> Vec<H::Step> {
    let mut bytes = Unstructured::new(bytes);
    let mut steps = Vec::new();
    while !bytes.is_empty() {
        match H::Step::arbitrary(&mut bytes) {
            Ok(step) => steps.push(step),
            Err(_) => break,
        }
    }
    steps
}

/// Runs the history that these bytes encode, and returns how many steps it has.
///
/// # Panics
///
/// If it fails. The message has a shorter history that fails as well, as Rust.
pub fn check<H: History>(bytes: &[u8]) -> usize {
    let steps = steps::<H>(bytes);
    if let Some(first) = fails::<H>(&steps) {
        let short = shorten(&steps, |steps| fails::<H>(steps).is_some());
        let why = fails::<H>(&short).unwrap_or(first);
        let lines: String = short
            .iter()
            .map(|step| format!("    {step:?},\n"))
            .collect();
        panic!("{why}\nafter these steps:\n[\n{lines}]");
    }
    steps.len()
}

/// Returns why these steps fail; `None` if they do not.
pub fn fails<H: History>(steps: &[H::Step]) -> Option<String> {
    let _quiet = quiet::begin();
    let outcome = catch_unwind(AssertUnwindSafe(|| H::run(steps)));
    outcome.err().map(|_| quiet::last_message())
}

/// Returns random bytes for a history, the same ones for the same seed and number.
#[must_use]
pub fn random_bytes(seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed, number);
    // More short ones than long ones: they take less time and find as much.
    let longest = 16 << random.below(9);
    let len = 1 + random.below(longest);
    (0..len).map(|_| random.below(256) as u8).collect()
}

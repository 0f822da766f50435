// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Command line arguments that several programs take.

use bpaf::parsers::NamedArg;
use bpaf::{Parser, long};

use crate::program::Backend;

/// `--backend kvm` or `--backend sim`; none if not given.
pub fn backend() -> impl Parser<Option<Backend>> {
    let name = long("backend").help("What runs the guest [default: kvm if KVM works, else sim]");
    choice(
        name,
        "kvm|sim",
        &[("kvm", Backend::Kvm), ("sim", Backend::Sim)],
    )
    .optional()
}

/// `--seed`; 1 if not given.
pub fn seed() -> impl Parser<u64> {
    let name = long("seed").help("Where the random numbers start");
    name.argument("NUMBER").fallback(1).display_fallback()
}

/// A count of at least 1.
pub fn count(name: NamedArg, default: u32) -> impl Parser<u32> {
    name.argument::<u32>("COUNT")
        .guard(|count| *count > 0, "must be at least 1")
        .fallback(default)
        .display_fallback()
}

/// How a guest waits for an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// It halts.
    Halt,
    /// It polls, for hosts whose emulation lets an interrupt in between `sti` and `hlt`.
    Spin,
}

/// `--idle halt` or `--idle spin`; `halt` if not given.
pub fn idle() -> impl Parser<Idle> {
    let name = long("idle").help(
        "How a real guest waits for an interrupt: it halts, or it polls, for hosts whose emulation \
         lets an interrupt in between sti and hlt [default: halt]",
    );
    choice(
        name,
        "halt|spin",
        &[("halt", Idle::Halt), ("spin", Idle::Spin)],
    )
    .fallback(Idle::Halt)
}

/// One of a few words, each with its value. The help shows `words`.
pub fn choice<T: Copy + 'static>(
    name: NamedArg,
    words: &'static str,
    choices: &'static [(&'static str, T)],
) -> impl Parser<T> {
    name.argument::<String>(words).parse(move |word| {
        let mut choices = choices.iter();
        let choice = choices.find(|(name, _)| *name == word);
        choice
            .map(|(_, value)| *value)
            .ok_or(format!("is none of {words}"))
    })
}

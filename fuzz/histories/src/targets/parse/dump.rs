// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Routing dumps: a text that is read is printed again, and explained.

use irq_routing::{Dump, Platform, Wiring};

use super::Reading;
use super::memory::bounded;
use super::saved::expect_short;
use super::tree::Tree;

pub(super) fn valid(shape: u16) -> Tree {
    let wiring = match shape % 4 {
        0 => Wiring::pc(),
        1 => Wiring::none(Platform::X86Split),
        2 => Wiring::gic(32).expect("a GIC has it"),
        _ => Wiring::aia(32).expect("an APLIC has it"),
    };
    let extra = "gsi=24 type=2 address=0xfee00000 data=0x41 devid=0x8\n\
        gsi=25 type=2\n\
        gsi=26 type=3\n\
        gsi=27 type=4 vcpu=0 sint=2\n\
        gsi=28 type=5 port=7 vcpu=0 priority=0\n\
        gsis=1024\n";
    let text = Dump::from(&wiring).to_string();
    let text = if shape & 4 == 0 {
        text
    } else {
        extra.to_owned() + &text
    };
    Tree::List(text.lines().map(line).collect())
}

fn line(text: &str) -> Tree {
    if let Some(row) = text.strip_prefix('{').and_then(|row| row.strip_suffix('}')) {
        let cells = row
            .split(',')
            .map(|cell| Tree::Atom(cell.trim().to_owned()));
        return Tree::List(cells.collect());
    }
    let word = |word: &str| {
        let (name, value) = word.split_once('=').unwrap_or(("", word));
        (name.to_owned(), Tree::Atom(value.to_owned()))
    };
    Tree::Map(text.split_whitespace().map(word).collect())
}

/// The numbers of all entries by their names, as long as they may be.
fn numbers<'a>(text: &'a str) -> Vec<Vec<(&'a str, u128)>> {
    let lines = text.trim_start_matches('\u{feff}').lines();
    let lines = lines.map(|line| line.split('#').next().unwrap_or_default().trim());
    let number = |word: &str| match word.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).expect("it was read"),
        None => word.parse().expect("it was read"),
    };
    let words = |line: &'a str| {
        let words = line.split_whitespace();
        let words = words.map(|word| word.split_once('=').unwrap_or(("", word)));
        let mut words: Vec<_> = words.map(|(name, word)| (name, number(word))).collect();
        words.sort_by_key(|(name, _)| *name);
        words
    };
    lines
        .filter(|line| line.starts_with("gsi="))
        .map(words)
        .collect()
}

pub(super) fn read(reading: &Reading<'_>) {
    let Ok(text) = str::from_utf8(reading.text) else {
        return;
    };
    let dump = bounded(text.len(), || text.parse::<Dump>());
    assert!(dump.is_ok() || !reading.valid, "refused: {dump:?}");
    let dump = match dump {
        Ok(dump) => dump,
        Err(error) => return expect_short(&error),
    };
    let printed = dump.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&dump));
    assert_eq!(numbers(&printed), numbers(text));
    for problem in dump.problems() {
        expect_short(&problem);
    }
    for entry in dump.entries().iter().take(64) {
        expect_short(&dump.explain(entry.gsi));
    }
}

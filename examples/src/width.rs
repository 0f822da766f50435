// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The width of the terminal, and text that fits it.

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The columns if the output is no terminal, or the terminal does not report them.
const DEFAULT: usize = 100;
/// A narrower terminal is treated as if it had these columns.
const LEAST: usize = 40;
/// The indentation of the rest of a folded line.
const HANG: usize = 2;

/// The columns of standard output: those of the terminal, or 100.
pub fn of_stdout() -> usize {
    static WIDTH: OnceLock<usize> = OnceLock::new();
    *WIDTH.get_or_init(|| of(&io::stdout()))
}

/// The columns of standard error, likewise.
pub(crate) fn of_stderr() -> usize {
    of(&io::stderr())
}

fn of(stream: &(impl IsTerminal + AsFd)) -> usize {
    if !stream.is_terminal() {
        return DEFAULT;
    }
    let by_user = env::var("COLUMNS").ok().and_then(|text| columns(&text));
    by_user.or_else(|| of_terminal(stream)).unwrap_or(DEFAULT)
}

/// Runs `stty`, which every Linux has: a crate for this brings two others along.
fn of_terminal(stream: &impl AsFd) -> Option<usize> {
    let terminal = stream.as_fd().try_clone_to_owned().ok()?;
    let mut stty = Command::new("stty");
    stty.arg("size").stdin(terminal).stderr(Stdio::null());
    let size = stty.output().ok()?.stdout;
    columns(std::str::from_utf8(&size).ok()?.split_whitespace().nth(1)?)
}

/// A terminal that reports 0 columns does not know its width.
fn columns(text: &str) -> Option<usize> {
    let columns = text.trim().parse().ok().filter(|columns| *columns > 0);
    columns.map(|columns: usize| columns.max(LEAST))
}

/// The text with lines of at most `width` characters. A longer line is folded at a space, and its
/// rest is indented a bit further. A word that is too long stays whole.
#[must_use]
pub fn fold(text: &str, width: usize) -> String {
    let fold_line = |line: &str| {
        let blanks = line.chars().take_while(|blank| *blank == ' ').count();
        hang(line, width, blanks + HANG)
    };
    let lines: String = text.split_inclusive('\n').map(fold_line).collect();
    lines
}

/// One line folded likewise; its rest begins in the given column. A line end stays at the end.
#[must_use]
pub fn hang(line: &str, width: usize, column: usize) -> String {
    // There must be room for a word.
    let column = column.min(width / 2);
    let mut folded = String::new();
    let mut rest = line;
    let mut room = width;
    while length(rest.trim_end()) > room {
        let Some(at) = last_space(rest, room) else {
            break;
        };
        let (before, behind) = rest.split_at(at);
        folded.push_str(before.trim_end());
        folded.push('\n');
        folded.push_str(&" ".repeat(column));
        rest = behind.trim_start_matches(' ');
        room = width - column;
    }
    folded + rest
}

/// The text without what is beyond `width` characters.
#[must_use]
pub fn clip(text: &str, width: usize) -> &str {
    text.char_indices()
        .nth(width)
        .and_then(|(at, _)| text.get(..at))
        .unwrap_or(text)
}

/// The last space at which the line can be folded; leading spaces do not count.
fn last_space(line: &str, room: usize) -> Option<usize> {
    let first = line.len() - line.trim_start().len();
    let fits = clip(line, room + 1);
    let in_room = fits.rfind(' ').filter(|at| *at > first);
    // A word that is too long stays whole, so the next space counts.
    in_room.or_else(|| {
        let (at, _) = line.match_indices(' ').find(|(at, _)| *at > first)?;
        (!line.get(at..)?.trim().is_empty()).then_some(at)
    })
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_fit_stay() {
        for text in ["", "\n", "  a b\n\nc  d\n", "12345678901234567890\n"] {
            assert_eq!(fold(text, 20), text);
        }
    }

    #[test]
    fn a_long_line_goes_on_further_in() {
        assert_eq!(
            fold("  one two three four five\nsix", 14),
            "  one two\n    three four\n    five\nsix"
        );
        assert_eq!(
            hang("  GSI 4  one two three\n", 14, 9),
            "  GSI 4  one\n       two\n       three\n"
        );
    }

    #[test]
    fn a_long_word_stays_whole() {
        assert_eq!(
            fold("    12345678901234567890\n", 10),
            "    12345678901234567890\n"
        );
        assert_eq!(fold("a 12345678901 b c", 10), "a\n  12345678901\n  b c");
    }

    #[test]
    fn characters_count_and_not_bytes() {
        assert_eq!(fold("──●─ ──●─", 9), "──●─ ──●─");
        assert_eq!(clip("──●─", 2), "──");
    }

    #[test]
    fn a_terminal_that_does_not_know_its_width_is_not_believed() {
        assert_eq!(columns("0\n"), None);
        assert_eq!(columns("wide"), None);
        assert_eq!(columns("132"), Some(132));
        assert_eq!(columns("3"), Some(LEAST));
    }
}

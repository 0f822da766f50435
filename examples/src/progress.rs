// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Progress`]: how far a long run is, for the person at the terminal.

use std::cell::OnceCell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::width::{self, clip};

/// A run that ends sooner shows nothing.
const FIRST: Duration = Duration::from_secs(1);
/// The time between two lines.
const NEXT: Duration = Duration::from_millis(200);

/// One line on standard error that is rewritten at each step, if standard error is a terminal. It
/// is removed on drop.
#[derive(Debug)]
pub struct Progress {
    /// What is done and counted.
    title: String,
    total: u64,
    begun: Instant,
    /// When the next line is due; never where there is no terminal.
    next: Option<Instant>,
    width: OnceCell<usize>,
    is_shown: bool,
}

impl Progress {
    /// A run of `total` steps that begins now.
    #[must_use]
    pub fn new(title: impl Into<String>, total: u64) -> Self {
        let begun = Instant::now();
        let terminal = io::stderr().is_terminal();
        Self {
            title: title.into(),
            total,
            begun,
            next: terminal.then(|| begun + FIRST),
            width: OnceCell::new(),
            is_shown: false,
        }
    }

    /// Shows that `done` steps are done, if the next line is due.
    pub fn show(&mut self, done: u64) {
        let now = Instant::now();
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + NEXT);
        self.is_shown = true;
        let line = line(&self.title, done, self.total, now - self.begun);
        // The last column stays free, so that no terminal begins a new line. What other threads
        // write begins at the start of this line, and replaces it.
        let line = clip(&line, self.width.get_or_init(width::of_stderr) - 1);
        // Without progress the run goes on.
        let _ = write!(io::stderr(), "{line}\x1b[K\r");
    }

    /// Removes the line, so that other text can be written there.
    pub fn hide(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\x1b[K");
            self.is_shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

/// `intx: IOAPIC: 1200 of 100000 (1 %), about 80 s left`.
fn line(title: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let done = done.min(total);
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    let line = format!("{title}: {done} of {total} ({percent} %)");
    match (u128::from(total - done) * elapsed.as_millis()).checked_div(done.into()) {
        Some(left) => format!("{line}, about {} s left", left.div_ceil(1000)),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_long_the_rest_takes() {
        let line = |done, total| line("kicks", done, total, Duration::from_secs(10));
        assert_eq!(line(25, 100), "kicks: 25 of 100 (25 %), about 30 s left");
        assert_eq!(line(0, 100), "kicks: 0 of 100 (0 %)");
        assert_eq!(line(101, 100), "kicks: 100 of 100 (100 %), about 0 s left");
        assert_eq!(line(0, 0), "kicks: 0 of 0 (100 %)");
    }
}

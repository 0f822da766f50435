// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Ranges of GSIs, printed for people.

/// Ascending numbers as inclusive ranges.
pub(crate) fn ranges(numbers: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// Returns the gaps below a limit between ascending, different numbers.
pub(crate) fn gaps(numbers: impl IntoIterator<Item = u32>, limit: u32) -> Vec<(u32, u32)> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for number in numbers.into_iter().take_while(|number| *number < limit) {
        if number > next {
            gaps.push((next, number - 1));
        }
        next = number + 1;
    }
    if next < limit {
        gaps.push((next, limit - 1));
    }
    gaps
}

/// `3-7`, or `3`.
pub(crate) fn range(first: u32, last: u32) -> String {
    if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    }
}

/// `2, 24-63`; of many ranges only the first 12.
pub(crate) fn list(ranges: &[(u32, u32)]) -> String {
    const MOST: usize = 12;
    let shown = ranges.iter().take(MOST);
    let shown: Vec<_> = shown.map(|(first, last)| range(*first, *last)).collect();
    let more = ranges.len().saturating_sub(MOST);
    let tail = match more {
        0 => String::new(),
        more => format!(" and {more} more ranges"),
    };
    shown.join(", ") + &tail
}

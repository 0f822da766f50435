// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Reads a [`Dump`] from untrusted text.

use std::str::{FromStr, SplitWhitespace};

use notify_core::RouteTarget;

use super::print::PLATFORMS;
use super::{ChipMatrix, Dump, DumpEntry, USUAL_LIMIT};
use crate::route::kernel_entries::{DumpTarget, EntryKind};
use crate::{MsiMessage, Platform};

/// How much of a line an error repeats, in characters.
const MOST_SHOWN: usize = 40;

/// More than any kernel takes, whatever number of GSIs the text has.
const MOST_ENTRIES: usize = 1 << 16;

/// More than any kernel has: three on x86.
const MOST_ROWS: usize = 16;

/// The most pins that a chip has (an APLIC).
const MOST_COLUMNS: usize = 1024;

/// Why a text is not a [`Dump`]: the line, what was expected, and what was found.
///
/// The text quotes at most 40 characters of what was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("line {line}: expected {expected}, found \"{}\"", found.escape_debug())]
pub struct ParseError {
    line: usize,
    expected: &'static str,
    found: String,
}

/// What was expected, and what was found.
struct Mismatch<'a>(&'static str, &'a str);

type Parsed<'a, T> = Result<T, Mismatch<'a>>;

/// What has been read so far.
#[derive(Default)]
struct Reader {
    platform: Option<Platform>,
    limit: Option<u32>,
    entries: Vec<DumpEntry>,
    rows: Option<Vec<Vec<Option<u32>>>>,
}

impl FromStr for Dump {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, number) in text.lines().zip(1..) {
            reader.read(line).map_err(|Mismatch(expected, found)| {
                let found = found.chars().take(MOST_SHOWN).collect();
                ParseError {
                    line: number,
                    expected,
                    found,
                }
            })?;
        }
        Ok(Self {
            platform: reader.platform.unwrap_or(Platform::X86),
            limit: reader.limit.unwrap_or(USUAL_LIMIT),
            entries: reader.entries,
            matrix: reader.rows.map(ChipMatrix::from_rows),
        })
    }
}

impl Reader {
    fn read<'a>(&mut self, line: &'a str) -> Parsed<'a, ()> {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            return Ok(());
        }
        if line.starts_with('{') {
            return match &mut self.rows {
                Some(rows) => {
                    let expected = "at most 16 rows of chips";
                    push::<MOST_ROWS, _>(rows, matrix_row(line)?, expected, line)
                }
                None => Err(Mismatch("\"chip:\" before the rows of chips", line)),
            };
        }
        if line == "chip:" {
            return once(&mut self.rows, Vec::new(), "one list of chips", line);
        }
        let mut words = line.split_whitespace();
        match words.next().and_then(|word| word.split_once('=')) {
            Some(("gsi", gsi)) => {
                let gsi = number(gsi, "the number of a GSI")?;
                let target = target(words)?;
                let (entry, expected) = (DumpEntry { gsi, target }, "at most 65536 entries");
                push::<MOST_ENTRIES, _>(&mut self.entries, entry, expected, line)
            }
            Some(("platform", name)) => {
                let platform = platform(name)?;
                once(&mut self.platform, platform, "one platform", line)?;
                end(words)
            }
            Some(("gsis", limit)) => {
                let limit = number(limit, "the VM's number of GSIs")?;
                once(&mut self.limit, limit, "one number of GSIs", line)?;
                end(words)
            }
            _ => Err(Mismatch("an entry such as \"gsi=4 type=1 2 4\"", line)),
        }
    }
}

fn once<'a, T>(
    slot: &mut Option<T>,
    value: T,
    expected: &'static str,
    found: &'a str,
) -> Parsed<'a, ()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Mismatch(expected, found)),
    }
}

fn push<'a, const MOST: usize, T>(
    list: &mut Vec<T>,
    value: T,
    expected: &'static str,
    found: &'a str,
) -> Parsed<'a, ()> {
    if list.len() == MOST {
        return Err(Mismatch(expected, found));
    }
    list.push(value);
    Ok(())
}

fn platform(name: &str) -> Parsed<'_, Platform> {
    let mut platforms = PLATFORMS.iter();
    match platforms.find(|(_, known)| *known == name) {
        Some((platform, _)) => Ok(*platform),
        None => Err(Mismatch("x86, x86-split, arm64-gic or riscv64-aia", name)),
    }
}

/// Reads what follows the GSI in the line of an entry.
fn target(mut words: SplitWhitespace<'_>) -> Parsed<'_, DumpTarget> {
    const KIND: &str = "the type of the entry, type=1 to type=5";
    let kind = words.next().unwrap_or_default();
    let target = match kind.strip_prefix("type=") {
        Some("1") => {
            let mut word = || words.next().unwrap_or_default();
            let chip = number(word(), "the number of a chip, 0, 1 or 2")?;
            let pin = number(word(), "the number of a pin")?;
            RouteTarget::Pin { chip, pin }.into()
        }
        Some("2") => msi(&mut words)?,
        Some("3") => DumpTarget::Untold(EntryKind::S390Adapter),
        Some("4") => match values(&mut words, ["vcpu", "sint"], "vcpu= and sint=, or nothing")? {
            Some([vcpu, sint]) => RouteTarget::HvSint { vcpu, sint }.into(),
            None => DumpTarget::Untold(EntryKind::HvSint),
        },
        Some("5") => {
            let names = ["port", "vcpu", "priority"];
            match values(&mut words, names, "port=, vcpu= and priority=, or nothing")? {
                Some([port, vcpu, priority]) => RouteTarget::XenEvtchn {
                    port,
                    vcpu,
                    priority,
                }
                .into(),
                None => DumpTarget::Untold(EntryKind::XenEvtchn),
            }
        }
        _ => return Err(Mismatch(KIND, kind)),
    };
    end(words)?;
    Ok(target)
}

fn msi<'a>(words: &mut SplitWhitespace<'a>) -> Parsed<'a, DumpTarget> {
    const EXPECTED: &str = "address=, data= and perhaps devid=, or nothing";
    let (mut address, mut data, mut devid) = (None, None, None);
    let mut last = None;
    for word in words {
        match word.split_once('=') {
            Some(("address", value)) => {
                let value = long(value, "an address of 64 bits")?;
                once(&mut address, value, "one address", word)?;
            }
            Some(("data", value)) => once(&mut data, number(value, DATA)?, "one data", word)?,
            Some(("devid", value)) => {
                once(&mut devid, number(value, "a device id")?, "one devid", word)?;
            }
            _ => return Err(Mismatch(EXPECTED, word)),
        }
        last = Some(word);
    }
    match (address, data, last) {
        (Some(address), Some(data), _) => Ok(RouteTarget::Msi(MsiMessage {
            address,
            data,
            devid,
        })
        .into()),
        (_, _, None) => Ok(DumpTarget::Untold(EntryKind::Msi)),
        (_, _, Some(last)) => Err(Mismatch(EXPECTED, last)),
    }
}

const DATA: &str = "data of 32 bits";

/// `name=number` for each of these names, in any order, or nothing.
fn values<'a, const N: usize>(
    words: &mut SplitWhitespace<'a>,
    names: [&str; N],
    expected: &'static str,
) -> Parsed<'a, Option<[u32; N]>> {
    let mut found = [None; N];
    let mut last = None;
    for word in words {
        let (name, value) = word.split_once('=').ok_or(Mismatch(expected, word))?;
        let mut slots = names.iter().zip(&mut found);
        match slots.find(|(known, _)| **known == name) {
            Some((_, slot)) => once(slot, number(value, expected)?, expected, word)?,
            None => return Err(Mismatch(expected, word)),
        }
        last = Some(word);
    }
    match (found.iter().all(Option::is_some), last) {
        (_, None) => Ok(None),
        (true, _) => Ok(Some(found.map(Option::unwrap_or_default))),
        (false, Some(last)) => Err(Mismatch(expected, last)),
    }
}

/// A row such as `{0, 1, -1}`.
fn matrix_row(line: &str) -> Parsed<'_, Vec<Option<u32>>> {
    let inner = line.strip_prefix('{').and_then(|row| row.strip_suffix('}'));
    let inner = inner.ok_or(Mismatch("a row such as \"{0, 1, -1}\"", line))?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut row = Vec::new();
    for cell in inner.split(',').map(str::trim) {
        let gsi = match cell {
            "-1" => None,
            gsi => Some(number(gsi, "the number of a GSI, or -1")?),
        };
        push::<MOST_COLUMNS, _>(&mut row, gsi, "at most 1024 pins in a row", cell)?;
    }
    Ok(row)
}

fn end(mut words: SplitWhitespace<'_>) -> Parsed<'_, ()> {
    match words.next() {
        None => Ok(()),
        Some(word) => Err(Mismatch("the end of the line", word)),
    }
}

fn number<'a>(text: &'a str, expected: &'static str) -> Parsed<'a, u32> {
    let number = long(text, expected)?;
    u32::try_from(number).map_err(|_| Mismatch(expected, text))
}

/// A number in decimal, or in hex after `0x`. `from_str_radix` would accept a sign; this does not.
fn long<'a>(text: &'a str, expected: &'static str) -> Parsed<'a, u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let signed = digits.starts_with('+');
    let number = u64::from_str_radix(digits, radix).ok();
    let number = number.filter(|_| !signed);
    number.ok_or(Mismatch(expected, text))
}

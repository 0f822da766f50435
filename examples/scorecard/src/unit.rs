// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Unit`]: the unit of a row, and how it is printed.

/// The unit of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
}

/// A ratio that is nearer to 1 is printed in per cent.
const FEW: f64 = 1.5;

impl Unit {
    /// The name in the JSON fields `ours_ns` and `other_bytes`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
        }
    }

    /// The value with three digits, in a unit that suits it: `1.25 ms`.
    pub(crate) fn show(self, value: f64) -> String {
        let units: &[(f64, &str)] = match self {
            Self::Nanoseconds => &[(1.0, "ns"), (1e3, "us"), (1e6, "ms"), (1e9, "s")],
            Self::Bytes => &[(1.0, "bytes"), (1024.0, "KiB"), (1_048_576.0, "MiB")],
        };
        let mut fitting = units.iter().rev();
        // After rounding: 999.9 ns is 1 us.
        let unit = fitting.find(|(one, _)| value / one >= 0.9995);
        let (one, name) = unit.or(units.first()).copied().unwrap_or((1.0, ""));
        format!("{} {name}", digits(value / one))
    }

    /// The same without trailing zeros: `10 ns`.
    pub(crate) fn show_round(self, value: f64) -> String {
        let text = self.show(value);
        match text.split_once(' ') {
            Some((number, unit)) if number.contains('.') => {
                let number = number.trim_end_matches('0').trim_end_matches('.');
                format!("{number} {unit}")
            }
            _ => text,
        }
    }

    /// The comparison of ours with the other, without the other's name.
    pub(crate) fn compare(self, ours: f64, other: f64) -> String {
        let (less, more) = match self {
            Self::Nanoseconds => ("faster", "slower"),
            Self::Bytes => ("smaller", "larger"),
        };
        let ratio = other / ours;
        let percent = (100.0 * (ours / other - 1.0)).round();
        match ratio {
            _ if !ratio.is_finite() || ratio <= 0.0 => "not comparable with".to_owned(),
            FEW.. => format!("{} times {less} than", digits(ratio)),
            _ if 1.0 / ratio >= FEW => format!("{} times {more} than", digits(1.0 / ratio)),
            _ if percent > 0.0 => format!("{percent} % more than"),
            _ if percent < 0.0 => format!("{} % less than", -percent),
            _ => "the same as".to_owned(),
        }
    }
}

/// A positive number with three digits, or with all digits before the point.
fn digits(number: f64) -> String {
    match number {
        99.95.. => format!("{number:.0}"),
        9.995.. => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_suits_the_value() {
        for (nanoseconds, text) in [
            (0.0, "0.00 ns"),
            (7.126, "7.13 ns"),
            (999.2, "999 ns"),
            (999.9, "1.00 us"),
            (12_345.0, "12.3 us"),
            (1_234_567.0, "1.23 ms"),
            (4.2e9, "4.20 s"),
            (1.5e12, "1500 s"),
        ] {
            assert_eq!(Unit::Nanoseconds.show(nanoseconds), text);
        }
        assert_eq!(Unit::Nanoseconds.show_round(10.0), "10 ns");
        assert_eq!(Unit::Nanoseconds.show_round(100.0), "100 ns");
        assert_eq!(Unit::Nanoseconds.show_round(1500.0), "1.5 us");
        assert_eq!(Unit::Bytes.show(88.0), "88.0 bytes");
        assert_eq!(Unit::Bytes.show(3.0 * 1024.0), "3.00 KiB");
    }

    #[test]
    fn a_comparison_is_in_words() {
        for (ours, other, words) in [
            (1.0, 1840.0, "1840 times faster than"),
            (10.0, 31.4, "3.14 times faster than"),
            (31.4, 10.0, "3.14 times slower than"),
            (103.0, 100.0, "3 % more than"),
            (88.0, 100.0, "12 % less than"),
            (100.2, 100.0, "the same as"),
            (1.0, 0.0, "not comparable with"),
            (0.0, 1.0, "not comparable with"),
        ] {
            assert_eq!(Unit::Nanoseconds.compare(ours, other), words);
        }
        assert_eq!(Unit::Bytes.compare(10.0, 31.4), "3.14 times smaller than");
    }
}

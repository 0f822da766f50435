// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What holds of any two doorbells at any addresses. Tests take numbers near the limits; Kani takes
//! all numbers.

use super::{Conflict, Datamatch, IoAddress, PAGE, Place, Width};

fn place(next: &mut impl FnMut() -> u64) -> Place {
    let address = match next() & 1 {
        0 => IoAddress::Mmio(next()),
        _ => IoAddress::Pio(next() as u16),
    };
    let value = next();
    let datamatch = match next() % 9 {
        0 => Datamatch::AnyWrite,
        1 => Datamatch::Width(Width::W1),
        2 => Datamatch::Width(Width::W2),
        3 => Datamatch::Width(Width::W4),
        4 => Datamatch::Width(Width::W8),
        5 => Datamatch::U8(value as u8),
        6 => Datamatch::U16(value as u16),
        7 => Datamatch::U32(value as u32),
        _ => Datamatch::U64(value),
    };
    Place::new(address, datamatch)
}

/// The bytes that it covers on the bus: its first one, and the one behind its last.
fn bytes(place: Place) -> [u128; 2] {
    let start = u128::from(place.address.number());
    let len = u128::from(place.datamatch.bytes());
    [start, start + if len == 0 { 1 } else { len }]
}

/// Two doorbells conflict exactly if the documentation of `Conflict` says so, in either order.
fn conflicts_are_as_documented(next: &mut impl FnMut() -> u64) {
    let (one, other) = (place(next), place(next));
    let conflict = Conflict::between(one, other);
    assert_eq!(conflict.is_some(), Conflict::between(other, one).is_some());
    let ([a, a_end], [b, b_end]) = (bytes(one), bytes(other));
    let is_any = |place: Place| place.datamatch == Datamatch::AnyWrite;
    let expected = if one.address.bus() != other.address.bus() {
        false
    } else if a == b {
        let (len, other_len) = (one.datamatch.bytes(), other.datamatch.bytes());
        let values = (one.datamatch.value(), other.datamatch.value());
        let differ = matches!(values, (Some(one), Some(other)) if one != other);
        is_any(one) || is_any(other) || (len == other_len && !differ)
    } else {
        let overlap = a < b_end && b < a_end;
        let after_one = a_end == b && is_any(other) && !is_any(one);
        let after_other = b_end == a && is_any(one) && !is_any(other);
        overlap || after_one || after_other
    };
    assert_eq!(conflict.is_some(), expected);
}

/// The order of places is an order, and puts doorbells of one address together.
fn places_are_in_order(next: &mut impl FnMut() -> u64) {
    let (one, other) = (place(next), place(next));
    assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
    assert_eq!(one.cmp(&other).is_eq(), one == other);
    let at_its_address = Place::first(other.address)..=Place::last(other.address);
    let is_there = one.address == other.address;
    assert_eq!(at_its_address.contains(&one), is_there);
}

/// An address takes a write exactly if that ends within its page, or at the last port. A guest's
/// addresses have 52 bits, or 59 on riscv64, and it writes four ports at most.
fn a_write_has_room(next: &mut impl FnMut() -> u64) {
    let Place { address, datamatch } = place(next);
    let bits = if cfg!(target_arch = "riscv64") {
        59
    } else {
        52
    };
    let bytes = u128::from(datamatch.bytes());
    let end = u128::from(address.number()) + bytes;
    let has_room = match address {
        IoAddress::Mmio(number) => {
            let page_end = u128::from(number / PAGE + 1) * u128::from(PAGE);
            number < 1 << bits && end <= page_end
        }
        IoAddress::Pio(_) => bytes <= 4 && end <= 0x1_0000,
    };
    assert_eq!(address.takes(datamatch.bytes()), has_room);
}

#[cfg(test)]
mod near_the_limits {
    //! The same for all numbers out of short lists.

    use super::*;

    /// For each number of a place.
    const NUMBERS: [&[u64]; 4] = [
        &[0, 1],
        &[
            0,
            1,
            7,
            8,
            0xff8,
            0xfff,
            0x1000,
            0xfffd,
            0xffff,
            1 << 52,
            u64::MAX - 7,
            u64::MAX,
        ],
        &[0, 1, u64::MAX],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8],
    ];

    /// Runs a body with each combination of the numbers of so many places.
    fn all(places: u32, body: impl Fn(&mut dyn FnMut() -> u64)) {
        let of_place: usize = NUMBERS.iter().map(|numbers| numbers.len()).product();
        for combination in 0..of_place.pow(places) {
            let mut rest = combination;
            let mut lists = NUMBERS.iter().cycle();
            body(&mut || {
                let numbers = lists.next().copied().unwrap_or_default();
                let number = numbers.get(rest % numbers.len());
                rest /= numbers.len();
                number.copied().unwrap_or_default()
            });
        }
    }

    #[test]
    fn conflicts() {
        all(2, |mut next| conflicts_are_as_documented(&mut next));
    }

    #[test]
    fn order() {
        all(2, |mut next| places_are_in_order(&mut next));
    }

    #[test]
    fn room() {
        all(1, |mut next| a_write_has_room(&mut next));
    }
}

#[cfg(kani)]
mod for_all_numbers {
    use super::*;

    #[kani::proof]
    fn conflicts() {
        conflicts_are_as_documented(&mut kani::any::<u64>);
    }

    #[kani::proof]
    fn order() {
        places_are_in_order(&mut kani::any::<u64>);
    }

    #[kani::proof]
    fn room() {
        a_write_has_room(&mut kani::any::<u64>);
    }
}

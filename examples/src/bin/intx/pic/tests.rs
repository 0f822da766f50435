// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PICs, port by port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// The PICs as the guest sets them up (vectors from 0x20 on, pin 10 level-triggered), and how often
/// they interrupted.
fn pic() -> (Pic, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let pic = Pic::new(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    for (command, data, base, cascade) in [(0x20, 0x21, 0x20, 4), (0xa0, 0xa1, 0x28, 2)] {
        pic.write(command, 0x11);
        for word in [base, cascade, 1, 0] {
            pic.write(data, word);
        }
    }
    pic.write(0x4d1, 4);
    (pic, count)
}

#[test]
fn a_level_comes_again_until_it_is_lowered() {
    let (pic, interrupts) = pic();
    pic.set_level(10, true).unwrap();
    assert_eq!(interrupts.load(Ordering::Relaxed), 1);
    assert_eq!(pic.take(), Some(0x2a));
    assert_eq!(pic.take(), None, "in service");
    assert_eq!(pic.write(0xa0, 0x20), Some(10));
    assert_eq!(pic.take(), None, "the cascade is in service");
    assert_eq!(pic.write(0x20, 0x20), Some(2));
    assert_eq!(pic.take(), Some(0x2a));
    pic.set_level(10, false).unwrap();
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    assert_eq!(pic.take(), None);
    assert!(!pic.is_requesting());
}

#[test]
fn an_edge_comes_once() {
    let (pic, _) = pic();
    pic.set_level(5, true).unwrap();
    assert_eq!(pic.take(), Some(0x25));
    assert_eq!(pic.write(0x20, 0x65), Some(5), "a specific end");
    assert_eq!(pic.take(), None);
    pic.set_level(5, false).unwrap();
    pic.set_level(5, true).unwrap();
    assert_eq!(pic.take(), Some(0x25));
}

#[test]
fn a_masked_pin_waits() {
    let (pic, interrupts) = pic();
    pic.write(0xa1, 0xff);
    pic.set_level(10, true).unwrap();
    assert!(!pic.is_requesting());
    assert_eq!(interrupts.load(Ordering::Relaxed), 0);
    assert_eq!((pic.read(0xa1), pic.read(0xa0)), (0xff, 4));
    pic.write(0xa1, 0);
    assert_eq!(pic.take(), Some(0x2a));
}

#[test]
fn lower_pins_come_first() {
    let (pic, _) = pic();
    pic.set_level(10, true).unwrap();
    pic.set_level(5, true).unwrap();
    assert_eq!(pic.take(), Some(0x2a), "the cascade is at pin 2");
    pic.set_level(1, true).unwrap();
    assert_eq!(pic.take(), Some(0x21));
    assert_eq!(pic.write(0x20, 0x20), Some(1));
    assert_eq!(pic.take(), None, "pin 5 is behind the cascade");
    assert_eq!(pic.write(0x20, 0x20), Some(2));
    assert_eq!(pic.take(), Some(0x25));
}

#[test]
fn an_end_of_nothing_ends_nothing() {
    let (pic, _) = pic();
    assert_eq!(pic.write(0xa0, 0x20), None);
    assert_eq!(pic.write(0x20, 0x67), None);
    assert!(pic.set_level(16, true).is_err());
}

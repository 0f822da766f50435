// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The texts of errors: what failed, where, what to do, and the errno at the end.

use kvm_test::os_text;
use std::error::Error as _;

use ioeventfd::{
    AfterExit, Datamatch, DoorbellRegistry, DoorbellSet, Error, IoAddress, Width, Window,
};
use notify_sim::CallKind::{IoEventFdAssign, IoEventFdDeassign};

use crate::common::*;

const ENOMEM: i32 = 12;

#[track_caller]
fn expect(error: &Error, errno: Option<i32>, text: &str) {
    assert_eq!(error.to_string(), text);
    assert_eq!(error.raw_os_error(), errno);
    assert!(error.source().is_none(), "the text is complete");
    assert_eq!(error.clone(), *error);
}

#[test]
fn what_the_vm_refuses() {
    let rig = rig();
    let all = notifiers(6);
    rig.vm.fail(IoEventFdAssign, 1, ENOMEM);
    let refused = change(&rig.set, queues(BASE, &all[..1])).unwrap_err();
    expect(
        &refused,
        Some(ENOMEM),
        &format!(
            "the VM refused the doorbell at MMIO 0xfe00b000 for any 16-bit write: {}",
            os_text(ENOMEM)
        ),
    );
    have(&rig.set, queues(BASE, &all));
    rig.vm.fail(IoEventFdDeassign, 1, ENOMEM);
    let stays = rig.set.stop().unwrap_err();
    expect(
        &stays,
        Some(ENOMEM),
        &format!(
            "the doorbell at MMIO 0xfe00b000 for any 16-bit write stays registered: {}",
            os_text(ENOMEM)
        ),
    );
    assert_ne!(refused, stays);
    // Another registry of the VM does not know this one's doorbells.
    let other = DoorbellSet::new(&DoorbellRegistry::new(rig.vm.clone(), &[]));
    let taken = change(&other, queues(BASE, &all[..1])).unwrap_err();
    expect(
        &taken,
        Some(17),
        "the doorbell at MMIO 0xfe00b000 for any 16-bit write is taken by something outside its \
         registry, which must be deregistered first: File exists (os error 17)",
    );
    // Five are deregistered, and none of them can be registered again.
    rig.vm.fail(IoEventFdDeassign, 6, ENOMEM);
    (1..=5).for_each(|nth| rig.vm.fail(IoEventFdAssign, nth, ENOMEM));
    let not_undone = rig.set.stop().unwrap_err();
    let at = |at| format!("the doorbell at MMIO {at} for any 16-bit write");
    let [d, c, b, a] = ["0xfe00b010", "0xfe00b00c", "0xfe00b008", "0xfe00b004"].map(at);
    let cause = format!("{} stays registered", at("0xfe00b014"));
    expect(
        &not_undone,
        Some(ENOMEM),
        &format!(
            "a change failed and could not be undone for {d}, {c}, {b}, {a} and 1 more, so plan \
             and apply again: {cause}: {}",
            os_text(ENOMEM)
        ),
    );
}

#[test]
fn what_is_refused_before_the_vm_is_asked() {
    let rig = rig();
    let all = notifiers(1);
    let plan = rig.set.plan(queues(BASE, &all)).unwrap();
    let foreign = DoorbellSet::new(&rig.registry).apply(plan).unwrap_err();
    expect(
        &foreign.error,
        None,
        "a plan or an epoch of another set of doorbells: give it to the set that it came from",
    );
    have(&rig.set, queues(ELSEWHERE, &all));
    expect(
        &rig.set.apply(foreign.value).unwrap_err().error,
        None,
        "the set of doorbells has changed since this was planned: plan again",
    );
    let other = DoorbellSet::new(&rig.registry);
    expect(
        &change(&other, queues(ELSEWHERE, &all)).unwrap_err(),
        None,
        "the doorbell at MMIO 0xfd003000 for any 16-bit write cannot be there: another doorbell of \
         this registry takes the same writes; remove that one first",
    );
    let far = rig
        .set
        .relocate(IoAddress::Mmio(ELSEWHERE), BAR, IoAddress::Pio(0x1000));
    expect(
        &far.unwrap_err(),
        None,
        "the doorbell at MMIO 0xfd003000 cannot follow a BAR from MMIO 0xfd003000 to port 0x1000, \
         which would take it out of its address space",
    );
}

#[test]
fn a_length_and_a_value() {
    let values = [None, Some(0), Some(0xff), Some(0x100), Some(u64::MAX)];
    for length in (0..=16).chain([u32::MAX]) {
        for value in values {
            let made = Datamatch::new(length, value);
            let bits = length.saturating_mul(8);
            let fits = value.is_none_or(|value| bits >= 64 || value >> bits == 0);
            let exists = matches!(length, 1 | 2 | 4 | 8) && fits;
            if exists || (length, value) == (0, None) {
                let made = made.unwrap();
                assert_eq!((made.bytes(), made.value()), (length, value));
            } else {
                assert!(
                    matches!(made, Err(Error::InvalidDatamatch { .. })),
                    "{made:?}"
                );
            }
        }
    }
    assert_eq!(Datamatch::new(0, None), Ok(Datamatch::AnyWrite));
    assert_eq!(Datamatch::new(8, None), Ok(Datamatch::Width(Width::W8)));
    assert_eq!(Datamatch::new(4, Some(7)), Ok(Datamatch::U32(7)));
    let rule = "use a length of 1, 2, 4 or 8 and a value that fits, or a length of 0 without a \
                value for every write";
    expect(
        &Datamatch::new(1, Some(0x100)).unwrap_err(),
        None,
        &format!("no doorbell can match a write of 1 bytes with the value 0x100: {rule}"),
    );
    expect(
        &Datamatch::new(3, None).unwrap_err(),
        None,
        &format!("no doorbell can match a write of 3 bytes: {rule}"),
    );
}

#[test]
fn addresses_are_shown_in_hex() {
    let window = Window::new(IoAddress::Mmio(0x0808_0000), 0x2_0000, "the GICv3 ITS");
    assert_eq!(
        format!("{window:?}"),
        r#"Window { start: Mmio(0x8080000), size: 0x20000, name: "the GICv3 ITS" }"#
    );
    let bell = mmio(3, BASE, W2, &notifier());
    assert!(format!("{bell:?}").contains("address: Mmio(0xfe00b000)"));
    assert_eq!(format!("{:?}", IoAddress::Pio(0xc010)), "Pio(0xc010)");
    let rig = rig();
    have(&rig.set, [bell]);
    assert_eq!(format!("{:?}", rig.set), "DoorbellSet { doorbells: 1, .. }");
}

#[test]
fn what_an_exit_was() {
    for (after, text) in [
        (AfterExit::Resume, "a kick"),
        (AfterExit::Emulate, "no kick"),
        (AfterExit::EmulateRest, "a kick in part"),
    ] {
        assert_eq!(after.to_string(), text);
    }
}

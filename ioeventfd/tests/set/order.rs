// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The order of the requests to the VM.

use std::sync::Arc;

use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet};
use kvm_test::Call::{self, AssignDoorbell, DeassignDoorbell};
use kvm_test::Recorder;

use crate::common::*;

/// One doorbell that stays, one that goes, one that is new, one whose notifier changes, and one
/// whose new place overlaps its old one.
fn calls(removals_first: bool) -> Vec<Call> {
    let vm = Arc::new(Recorder::default());
    let registry = DoorbellRegistry::new(vm.clone(), &[]);
    let mut set = DoorbellSet::new(&registry);
    if removals_first {
        set = set.removals_first();
    }
    let all = notifiers(2);
    let (old, new) = (&all[0], &all[1]);
    let stays: Doorbell = mmio(0, 0x1000, W4, old);
    let before = [
        stays.clone(),
        mmio(1, 0x1010, W4, old),
        mmio(3, 0x1030, Datamatch::U16(3), old),
        mmio(4, 0x1040, W4, old),
    ];
    let after = [
        stays,
        mmio(2, 0x1020, W4, old),
        mmio(3, 0x1030, Datamatch::U16(3), new),
        mmio(4, 0x1042, W4, old),
    ];
    have(&set, before);
    vm.take();
    have(&set, after);
    vm.take()
}

#[test]
fn what_is_in_the_way_goes_first_and_the_rest_last() {
    let expected = [
        DeassignDoorbell(0x1030, 2, Some(3)),
        DeassignDoorbell(0x1040, 4, None),
        AssignDoorbell(0x1020, 4, None),
        AssignDoorbell(0x1030, 2, Some(3)),
        AssignDoorbell(0x1042, 4, None),
        DeassignDoorbell(0x1010, 4, None),
    ];
    assert_eq!(calls(false), expected);
}

#[test]
fn removals_come_first_for_whoever_wants_it() {
    let expected = [
        DeassignDoorbell(0x1010, 4, None),
        DeassignDoorbell(0x1030, 2, Some(3)),
        DeassignDoorbell(0x1040, 4, None),
        AssignDoorbell(0x1020, 4, None),
        AssignDoorbell(0x1030, 2, Some(3)),
        AssignDoorbell(0x1042, 4, None),
    ];
    assert_eq!(calls(true), expected);
}

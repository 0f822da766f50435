// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The round trip of a level-triggered interrupt: asserted, handled by the guest, EOI, and the
//! device signalled.

mod machine;

use std::error::Error;
use std::thread;

use examples::halting;

use crate::measure::{Step, alternate};
use crate::row::Row;
use machine::{InKernel, InUserSpace, Running};

const ROUNDS: u32 = 40;
const BATCH: u32 = 100;

/// The kernel's resample eventfds, against an EOI that exits to user space.
pub(crate) fn against_exit() -> Result<Row, Box<dyn Error>> {
    let leaves = halting::keeps_eois_back()?;
    let (ours, mut our_vcpu) = InKernel::new(1, leaves)?;
    let (other, mut their_vcpu) = InUserSpace::new(leaves)?;
    let (our_exits, their_exits) = (Running::default(), Running::default());
    let times = thread::scope(|scope| {
        let _ours = our_exits.start(scope, &mut our_vcpu, || Ok(()));
        let _theirs = their_exits.start(scope, &mut their_vcpu, || other.tell());
        alternate(ROUNDS, BATCH, || ours.round_trip(), || other.round_trip())
    })?;
    let (ours, others) = times;
    let per_round_trip =
        |running: &Running| f64::from(running.eoi_exits()) / f64::from((ROUNDS + 1) * BATCH);
    let exits = (per_round_trip(&our_exits), per_round_trip(&their_exits));
    let guest = match leaves {
        true => "; on this host both guests also exit by a port, which is not counted",
        false => "",
    };
    Ok(Row::times(
        "KVM_IRQ_LINE and KVM_EXIT_IOAPIC_EOI",
        ours,
        others,
        format!(
            "assert, handler, EOI, resample; exits to user space for it: {} against {}{guest}; \
                the trigger \
             goes through a workqueue of the kernel, KVM_IRQ_LINE does not; depends on how this \
             host runs \
             guests",
            exits.0, exits.1
        ),
    ))
}

/// An EOI signalled to 16 devices, against one.
pub(crate) fn shared_by_16() -> Result<Row, Box<dyn Error>> {
    let (ours, mut our_vcpu) = InKernel::new(16, false)?;
    let (other, mut their_vcpu) = InKernel::new(1, false)?;
    let running = [Running::default(), Running::default()];
    let [first, second] = &running;
    let (ours, others) = thread::scope(|scope| {
        let _ours = first.start(scope, &mut our_vcpu, || Ok(()));
        let _theirs = second.start(scope, &mut their_vcpu, || Ok(()));
        alternate(ROUNDS, BATCH, || ours.round_trip(), || other.round_trip())
    })?;
    Ok(Row::times(
        "a line with one device",
        ours,
        others,
        "the same round trip on a line of 16 devices that are all signalled; depends on how \
            this host \
         runs guests",
    ))
}

/// A device that is not signalled has lost its interrupt.
fn or_lost(told: bool) -> Step {
    match told {
        true => Ok(()),
        false => Err("an EOI was not signalled".into()),
    }
}

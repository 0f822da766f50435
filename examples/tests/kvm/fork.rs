// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A forked child has the VM's file descriptor and every guard, and may use none of them.

use std::error::Error;
use std::sync::Arc;

use ioeventfd::{Datamatch, IoAddress, IoEventFd};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use kvm_test::{Machine, Trial, kvm_x86};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

pub(crate) fn trials() -> Vec<Trial> {
    vec![kvm_x86(
        "a_forked_child_is_refused_and_disarms_nothing",
        forked,
    )]
}

fn message(vector: u32) -> MsiMessage {
    MsiMessage::new(Machine::MSI_ADDRESS, vector)
}

/// Whether an error names the failed operation, and was caused by EIO.
fn refused(result: Result<(), impl Error>, names: &str) -> bool {
    let Err(error) = result else { return false };
    let text = error.to_string();
    text.ends_with("(os error 5)") && text.contains(names)
}

#[allow(
    unsafe_code,
    reason = "fork(2) is unsafe in a process that may have threads"
)]
fn forked() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    let irq = IrqFd::builder(table.lease_msi(message(0x41)).unwrap())
        .assign()
        .unwrap();
    let spare = table.lease_msi(message(0x42)).unwrap();
    let address = IoAddress::Mmio(0xd000_0000);
    let doorbell = |datamatch| IoEventFd::builder(machine.vm(), address, datamatch);
    let bell = doorbell(Datamatch::U16(1)).assign().unwrap();
    let notifier = Arc::clone(irq.notifier());

    // SAFETY: trials run one at a time on the main thread, and the harness has started no other
    // thread, so no lock can be held that the child needs.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let other = doorbell(Datamatch::U16(2)).assign();
            let commit = table.lease_msi(message(0x43));
            let all = [
                refused(
                    IrqFd::builder(spare)
                        .assign()
                        .map(drop)
                        .map_err(irqfd::IrqFdError::from),
                    "GSI 25",
                ),
                refused(
                    other.map(drop).map_err(ioeventfd::Error::from),
                    "MMIO 0xd0000000",
                ),
                refused(commit.map(drop), "GSI 26"),
            ];
            // Each drop tries to undo what the parent did.
            drop((irq, bell));
            let code = all
                .iter()
                .zip([1, 2, 4])
                .map(|(ok, bit)| if *ok { 0 } else { bit })
                .sum();
            // SAFETY: _exit ends the child without running anything that the parent owns.
            unsafe { nix::libc::_exit(code) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
    notifier.notify().unwrap();
    assert_eq!(
        machine.delivered().unwrap(),
        [0x41],
        "the parent's irqfd is still armed"
    );
    bell.deassign()
        .expect("the parent's doorbell is still registered");
    drop((irq, spare));
}

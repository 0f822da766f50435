// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Vectors: without KVM_SIGNAL_MSI each of them has an irqfd.

use std::io;

use irq_routing::{MsiMessage, Wiring};
use irqfd::inject::{self, InjectError};
use irqfd::{IrqFd, IrqFdError, Triggered, Vector, VectorState, msix};
use notify_core::SysError;
use notify_sim::{CallKind, Profile};

use super::split;

const MESSAGE: MsiMessage = MsiMessage::new(0xfee0_0000, 0x40);

#[test]
fn a_vector_keeps_masks_retargets_and_exports() {
    let (vm, table) = split();
    let vector = Vector::builder(&table).build().unwrap();
    vector.set_message(MESSAGE).unwrap();
    assert_eq!(vector.trigger().unwrap(), Triggered::Kept);
    vector.unmask().unwrap();
    assert!(matches!(vector.state(), VectorState::Armed));
    assert_eq!(vm.pending_vectors(0), [0x40]);
    assert_eq!(vm.calls(CallKind::SignalMsi), 0);

    assert_eq!(vm.take_vector(0), Some(0x40));
    vm.lapic_eoi(0);
    vector.mask();
    vector.trigger().unwrap();
    assert!(vm.pending_vectors(0).is_empty());
    vector
        .set_message(MsiMessage::new(0xfee0_0000, 0x41))
        .unwrap();
    vector.unmask().unwrap();
    assert_eq!(vm.pending_vectors(0), [0x41]);

    let notifier = vector.export().unwrap();
    vm.clear_vectors(0);
    notifier.notify().unwrap();
    assert_eq!(vm.pending_vectors(0), [0x41]);
}

#[test]
fn a_table_of_msi_x() {
    let (vm, table) = split();
    let device = msix::Table::builder(&table).vectors(2).build().unwrap();
    for entry in 0..2_u64 {
        let (address, data) = (0xfee0_0000_u64, 0x50 + entry);
        assert!(device.write(16 * entry, &address.to_le_bytes()).is_empty());
        assert!(device.write(16 * entry + 8, &data.to_le_bytes()).is_empty());
    }
    assert!(device.set_control(true, false).is_empty());
    device.vector(1).unwrap().trigger().unwrap();
    device.vector(0).unwrap().trigger().unwrap();
    assert_eq!(vm.pending_vectors(0), [0x50, 0x51]);
}

#[test]
fn an_irqfd_is_bound_once() {
    let (_vm, table) = split();
    let irq = IrqFd::builder(table.lease_msi(MESSAGE).unwrap());
    let irq = irq.assign().unwrap();
    let second = IrqFd::builder(table.lease_msi(MESSAGE).unwrap())
        .notifier(irq.notifier().clone())
        .assign();
    let error = second.unwrap_err().error;
    assert!(
        matches!(error, IrqFdError::AlreadyBound { .. }),
        "EBUSY came through the layer: {error:?}"
    );
}

#[test]
fn direct_injection_says_that_it_is_not_there() {
    let (_vm, table) = super::over_port(Profile::X86, Wiring::pc());
    let unsupported = |cause: &SysError| cause.kind() == io::ErrorKind::Unsupported;
    let error = inject::message(&table, MESSAGE).unwrap_err();
    assert!(matches!(error, InjectError::MessageRefused { cause, .. } if unsupported(&cause)));
    let line = table.lease_msi(MESSAGE).unwrap().into_line().unwrap();
    let error = inject::line_status(&line, true).unwrap_err();
    assert!(matches!(error, InjectError::LevelRefused { cause, .. } if unsupported(&cause)));
    for error in [
        inject::line(&table.line(4).unwrap(), true).unwrap_err(),
        inject::line_status(&table.line(4).unwrap(), true).unwrap_err(),
    ] {
        assert!(matches!(error, InjectError::NoIrqLine { cause, .. } if unsupported(&cause)));
    }
}

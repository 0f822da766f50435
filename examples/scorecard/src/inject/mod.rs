// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Interrupts without an eventfd: our calls, against the bare ioctls.

mod bare;

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;

use irq_routing::{IrqChip, Line, MsiMessage, Pin, RoutingTable};
use irqfd::inject::{self, Injected};
use notify_core::{KvmVcpu, KvmVm};
use tiny_guest::kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, kvm_ioapic_state, kvm_ioapic_state__bindgen_ty_1, kvm_irqchip,
    kvm_irqchip__bindgen_ty_1,
};
use tiny_guest::{Irqchip, Machine, Vcpu, layout};

use crate::measure::{Step, alternate};
use crate::row::Row;

const ROUNDS: u32 = 400;
const BATCH: u32 = 1000;
const VECTOR: u8 = 0x40;
/// A pin of the IOAPIC alone.
const GSI: u32 = 20;

pub(crate) fn message() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let message = MsiMessage::new(layout::msi_address(0), VECTOR.into());
    let ours = || {
        expect(
            inject::message(&bench.table, message)?,
            Injected::Delivered(1),
        )
    };
    let address = layout::msi_address(0) as u32;
    let bare = || {
        expect(
            bare::signal_msi(bench.vm.as_fd(), address, VECTOR.into())?,
            1,
        )
    };
    let (ours, others) = alternate(ROUNDS, BATCH, ours, bare)?;
    Ok(Row::times(
        "a bare KVM_SIGNAL_MSI",
        ours,
        others,
        "inject::message to a local APIC",
    ))
}

pub(crate) fn line() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let line = bench.line()?;
    let ours = || {
        inject::line(&line, true)?;
        Ok(inject::line(&line, false)?)
    };
    let bare = || {
        bare::irq_line(bench.vm.as_fd(), GSI, 1)?;
        expect(bare::irq_line(bench.vm.as_fd(), GSI, 0)?, 0)
    };
    let (ours, others) = alternate(ROUNDS, BATCH, ours, bare)?;
    Ok(Row::times(
        "a bare KVM_IRQ_LINE",
        ours,
        others,
        "inject::line of a pin of the IOAPIC, up and down",
    ))
}

pub(crate) fn line_status() -> Result<Row, Box<dyn Error>> {
    let bench = Bench::new()?;
    let line = bench.line()?;
    let ours = || {
        expect(inject::line_status(&line, true)?, Injected::Delivered(1))?;
        expect(inject::line_status(&line, false)?, Injected::Delivered(1))
    };
    let bare = || {
        expect(bare::irq_line_status(bench.vm.as_fd(), GSI, 1)?, 1)?;
        expect(bare::irq_line_status(bench.vm.as_fd(), GSI, 0)?, 1)
    };
    let (ours, others) = alternate(ROUNDS, BATCH, ours, bare)?;
    Ok(Row::times(
        "a bare KVM_IRQ_LINE_STATUS",
        ours,
        others,
        "inject::line_status of a pin of the IOAPIC, up and down",
    ))
}

pub(crate) fn interrupt() -> Result<Row, Box<dyn Error>> {
    let (_machine, vcpus) = Machine::builder().irqchip(Irqchip::None).build()?;
    let vcpu_fd = vcpus.first().ok_or("no vCPU")?.fd();
    let vcpu = KvmVcpu::try_from(vcpu_fd)?;
    let ours = || expect(inject::vcpu(&vcpu, VECTOR)?, Injected::Queued);
    let bare = || expect(bare::interrupt(vcpu_fd, VECTOR.into())?, 0);
    let (ours, others) = alternate(ROUNDS, BATCH, ours, bare)?;
    Ok(Row::times(
        "a bare KVM_INTERRUPT",
        ours,
        others,
        "inject::vcpu without an irqchip, where each is taken",
    ))
}

fn expect<T: PartialEq + std::fmt::Debug>(result: T, expected: T) -> Step {
    match result == expected {
        true => Ok(()),
        false => Err(format!("{result:?} instead of {expected:?}").into()),
    }
}

/// A VM that never runs; its interrupt controllers take interrupts all the same.
struct Bench {
    machine: Machine,
    _vcpus: Vec<Vcpu>,
    vm: Arc<KvmVm>,
    table: RoutingTable,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let (machine, vcpus) = Machine::builder().build()?;
        vcpus.iter().try_for_each(Vcpu::enable_lapic)?;
        let vm = Arc::new(KvmVm::try_from(machine.vm())?);
        let table = RoutingTable::new(vm.clone())?;
        Ok(Self {
            machine,
            _vcpus: vcpus,
            vm,
            table,
        })
    }

    /// A line whose edges the local APIC takes.
    fn line(&self) -> Result<Line, Box<dyn Error>> {
        let mut wiring = self.table.transaction();
        wiring.wire(self.table.gsi(GSI)?, Pin::new(IrqChip::IoApic, GSI)?);
        wiring.commit().map_err(irq_routing::Error::from)?;
        let bits = VECTOR.into();
        let ioapic = kvm_ioapic_state {
            base_address: 0xfec0_0000,
            redirtbl: [kvm_ioapic_state__bindgen_ty_1 { bits }; 24],
            ..kvm_ioapic_state::default()
        };
        self.machine.vm().set_irqchip(&kvm_irqchip {
            chip_id: KVM_IRQCHIP_IOAPIC,
            pad: 0,
            chip: kvm_irqchip__bindgen_ty_1 { ioapic },
        })?;
        Ok(self.table.line(GSI)?)
    }
}

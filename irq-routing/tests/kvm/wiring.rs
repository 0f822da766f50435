// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The initial tables of x86 VMs, by the effect of raising each GSI: no ioctl reads a table back.

use std::os::fd::AsFd;
use std::sync::Arc;

use irq_routing::{Dump, DumpTarget, Error, MsiMessage, Platform, RoutingTable, Wiring};
use kvm_test::{Machine, Requests, Trial, bare, kvm, split};
use notify_core::RouteTarget;
use notify_core::{EventNotifier, IrqFdRequest, KvmVm, LineStatus, Vm};

/// A table of a real guest.
const PC: &str = include_str!("../data/pc-routing.txt");

pub(super) fn trials() -> Vec<Trial> {
    vec![
        kvm("the_kernels_default_is_as_we_say", default_is_as_we_say),
        kvm("a_commit_keeps_what_kvm_has_wired", a_commit_keeps_the_pins),
        kvm("an_irqchip_after_the_table_is_found", irqchip_later),
        kvm("a_split_irqchip_starts_with_nothing", split_irqchip),
        kvm("a_table_that_kvm_refuses_names_the_irqchip", other_irqchip),
        kvm("a_pc_is_wired_as_the_real_one", pc_is_as_the_real_one),
        kvm("an_illegal_vector_stays_pending", illegal_vector),
        kvm("what_is_explained_as_lost_is_lost", lost_is_lost),
        kvm("on_the_spot_is_before_the_write_returns", on_the_spot),
    ]
}

/// The status of raising a GSI and lowering it again, and the requests of the chips in between.
type Behaviour = Vec<(LineStatus, Requests, LineStatus)>;

/// Of GSI 0 to 31. Earlier requests stay in the PICs, so each GSI must add its own pins.
fn behaviour(machine: &Machine) -> Behaviour {
    let vm = machine.vm();
    let drive = |gsi| {
        let raised = vm.irq_line_status(gsi, true).unwrap();
        let requests = machine.requests().unwrap();
        (raised, requests, vm.irq_line_status(gsi, false).unwrap())
    };
    (0..32).map(drive).collect()
}

fn wired(wiring: &Wiring) -> Machine {
    let machine = Machine::new().unwrap();
    let builder = RoutingTable::builder(machine.vm()).wiring(wiring.clone());
    builder.build().unwrap().recommit().unwrap();
    machine
}

fn default_is_as_we_say() {
    let fresh = behaviour(&Machine::new().unwrap());
    assert_eq!(behaviour(&wired(&Wiring::kernel_default_x86())), fresh);
    assert_ne!(behaviour(&wired(&Wiring::pc())), fresh);
    // The compared results must not be empty.
    let (_, last, _) = fresh[23];
    assert_eq!((last.pic_master, last.pic_slave), (0xff, 0xff));
    assert_eq!(last.ioapic, 1 << 23);
    assert_eq!(fresh[24].0, LineStatus::Ignored);
}

/// The serial port's GSI is one of them.
fn a_commit_keeps_the_pins() {
    let fresh = behaviour(&Machine::new().unwrap());
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    let lease = table.lease_msi(MsiMessage::new(Machine::MSI_ADDRESS, 0x41));
    let lease = lease.unwrap();
    assert_eq!(lease.gsi().number(), 24);
    let now = behaviour(&machine);
    assert_eq!(now[..24], fresh[..24]);
    // They come from our table: without it there are none.
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(4).unwrap());
    transaction.commit().unwrap();
    assert_eq!(behaviour(&machine)[4].0, LineStatus::Ignored);
    drop(lease);
}

fn irqchip_later() {
    let vm_fd = bare().unwrap();
    let vm = Arc::new(KvmVm::try_from(&vm_fd).unwrap());
    let table = RoutingTable::new(vm.clone()).unwrap();
    assert_eq!(table.routes(), []);
    let error = table.lease_msi(MsiMessage::default()).unwrap_err();
    assert!(
        matches!(error, Error::NoIrqChip { cause: None, .. }),
        "{error}"
    );
    vm_fd.create_irq_chip().unwrap();
    let _lease = table.lease_msi(MsiMessage::default()).unwrap();
    for gsi in 0..24 {
        assert_ne!(vm.irq_line_status(gsi, false).unwrap(), LineStatus::Ignored);
    }
    let second = RoutingTable::new(vm.clone()).unwrap_err();
    assert!(matches!(second, Error::SecondTable));
}

fn split_irqchip() {
    let vm = Arc::new(KvmVm::try_from(&split().unwrap()).unwrap());
    let table = RoutingTable::new(vm).unwrap();
    let _lease = table.lease_msi(MsiMessage::default()).unwrap();
    assert_eq!(table.routes().len(), 1);
    assert_eq!(table.platform(), Platform::X86Split);
}

fn other_irqchip() {
    let vm = Arc::new(KvmVm::try_from(&split().unwrap()).unwrap());
    let table = RoutingTable::builder(vm).wiring(Wiring::pc());
    let error = table.build().unwrap().recommit().unwrap_err();
    assert!(
        matches!(
            error,
            Error::OtherPlatform {
                vm: Platform::X86Split,
                ..
            }
        ),
        "{error}"
    );
}

/// The chips' requests by the lines of a dump, after each GSI was raised and lowered in turn.
fn by_the_lines(dump: &Dump) -> Vec<Requests> {
    let mut all = Vec::new();
    let mut requests = Requests::default();
    for gsi in 0..32 {
        requests.ioapic = 0;
        for entry in dump.entries().iter().filter(|entry| entry.gsi == gsi) {
            match entry.target {
                DumpTarget::Entry(RouteTarget::Pin { chip: 0, pin }) => {
                    requests.pic_master |= 1 << pin
                }
                DumpTarget::Entry(RouteTarget::Pin { chip: 1, pin }) => {
                    requests.pic_slave |= 1 << pin;
                    requests.pic_master |= 1 << 2;
                }
                DumpTarget::Entry(RouteTarget::Pin { chip: 2, pin }) => requests.ioapic |= 1 << pin,
                _ => {}
            }
        }
        all.push(requests);
    }
    all
}

fn pc_is_as_the_real_one() {
    let machine = wired(&Wiring::pc());
    let requests: Vec<_> = behaviour(&machine)
        .iter()
        .map(|(_, seen, _)| *seen)
        .collect();
    assert_eq!(requests, by_the_lines(&PC.parse().unwrap()));
}

fn illegal_vector() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    for vector in [0, 15] {
        let lease = table
            .lease_msi(MsiMessage::new(Machine::MSI_ADDRESS, vector))
            .unwrap();
        assert!(table.explain(lease.gsi()).is_lost());
        machine.clear().unwrap();
        // KVM returns that it was delivered, and leaves it in the request register.
        let status = machine.vm().irq_line_status(lease.gsi().number(), true);
        assert!(matches!(status, Ok(LineStatus::Delivered(_))), "{status:?}");
        let vector = u8::try_from(vector).unwrap();
        assert_eq!(machine.delivered().unwrap(), [vector]);
    }
}

/// A message that is explained as delivered arrives; one that is explained as lost, of a mode that
/// KVM ignores, does not.
fn lost_is_lost() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    for (address, data) in [
        (0xfee0_0000, 0x41),
        (0xfee0_0000, 0x741),
        (0xfee0_0010, 0x41),
        (0x0000_0000, 0x41),
        (0xfeef_f000, 0x141),
    ] {
        let lease = table.lease_msi(MsiMessage::new(address, data)).unwrap();
        machine.clear().unwrap();
        let status = machine.vm().irq_line_status(lease.gsi().number(), true);
        let explained = table.explain(lease.gsi());
        let lost = explained.is_lost();
        let arrived = machine.delivered().unwrap() == [0x41];
        assert_eq!(arrived, !lost, "{explained}: {status:?}");
    }
    for gsi in [24 + 5, 4096, u32::MAX] {
        assert!(table.explain(gsi).is_lost());
        let status = machine.vm().irq_line_status(gsi, true).unwrap();
        assert_eq!(status, LineStatus::Ignored);
    }
}

fn on_the_spot() {
    let machine = Machine::new().unwrap();
    let table = RoutingTable::new(machine.vm()).unwrap();
    let message = MsiMessage::new(Machine::MSI_ADDRESS, 0x41);
    let lease = table.lease_msi(message).unwrap();
    let explained = table.explain(lease.gsi());
    assert!(explained.to_string().starts_with("on the spot: "));
    let event = EventNotifier::new().unwrap();
    let assign = IrqFdRequest::assign(event.as_fd(), lease.gsi().number());
    machine.vm().irqfd(&assign).unwrap();
    for _ in 0..1000 {
        machine.clear().unwrap();
        event.notify().unwrap();
        assert_eq!(machine.delivered().unwrap(), [0x41]);
    }
}

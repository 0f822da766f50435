// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The backend on `/dev/kvm`.

mod guest;
pub(crate) mod ioctl;
mod rom;

use std::cell::{OnceCell, RefCell};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tiny_guest::kvm_bindings::{
    KVM_CAP_X2APIC_API, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap, kvm_irqchip, kvm_lapic_state,
};
use tiny_guest::kvm_ioctls::{IoEventAddress, VmFd};
use tiny_guest::{Machine, Vcpu};

use guest::Guest;
pub(crate) use guest::Read;
use rom::Rom;

use super::{Backend, Bus, ExitWrite, Irqchip, Pic, RAM_END, Reply, Spec};
use crate::event::Event;
use crate::request::{IoEventFd, IrqFd, IrqLevel, Msi, Routing, irqfd, unbind};

/// No case routes this GSI.
const NOWHERE: u32 = 0x3000;
/// The spurious-interrupt vector register of a local APIC, whose bit 8 switches it on.
const SVR: usize = 0xf0;
/// The interrupt request registers of a local APIC: eight of them, 16 bytes apart.
const IRR: std::ops::Range<usize> = 0x200..0x280;

pub(crate) struct Kvm {
    irqchip: Irqchip,
    // The VM is closed before the memory that it uses: fields are dropped in this order.
    guest: OnceCell<RefCell<Guest>>,
    vcpus: RefCell<Vec<Vcpu>>,
    machine: Machine,
    rom: OnceCell<Rom>,
    flush: Event,
}

impl Kvm {
    pub(crate) fn new(Spec { irqchip, vcpus }: Spec) -> Self {
        stay_on_one_processor();
        let builder = Machine::builder().memory(RAM_END).vcpus(vcpus);
        let builder = builder.irqchip(match irqchip {
            Irqchip::None => tiny_guest::Irqchip::None,
            Irqchip::Split => tiny_guest::Irqchip::Split { pins: 24 },
            Irqchip::Full => tiny_guest::Irqchip::Full,
        });
        let (machine, vcpus) = builder.build().unwrap();
        Self {
            irqchip,
            guest: OnceCell::new(),
            vcpus: RefCell::new(vcpus),
            machine,
            rom: OnceCell::new(),
            flush: Event::new(),
        }
    }

    pub(crate) fn fd(&self) -> &VmFd {
        self.machine.vm()
    }

    /// The guest reads; returns whether that exited to user space.
    pub(crate) fn guest_read(&self, read: Read, address: u64) -> bool {
        self.guest(|guest, vcpu| guest.read(vcpu, read, address))
    }

    /// Makes the first vCPU execute an action.
    fn guest<R>(&self, action: impl FnOnce(&Guest, &mut Vcpu) -> R) -> R {
        let vcpu = &mut self.vcpus.borrow_mut()[0];
        let load = || RefCell::new(Guest::load(&self.machine, vcpu));
        let guest = self.guest.get_or_init(load).borrow();
        action(&guest, vcpu)
    }

    fn edit_lapic(&self, edit: impl FnOnce(&mut kvm_lapic_state)) {
        let vcpus = self.vcpus.borrow();
        let mut lapic = vcpus[0].fd().get_lapic().unwrap();
        edit(&mut lapic);
        vcpus[0].fd().set_lapic(&lapic).unwrap();
    }

    fn chip(&self, chip_id: u32) -> kvm_irqchip {
        let mut chip = kvm_irqchip {
            chip_id,
            ..Default::default()
        };
        self.fd().get_irqchip(&mut chip).unwrap();
        chip
    }
}

/// KVM queues work on the processor on which a signal is written, where it runs in order.
fn stay_on_one_processor() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).unwrap();
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap());
    let mut one = CpuSet::new();
    one.set(first.unwrap()).unwrap();
    sched_setaffinity(this, &one).unwrap();
}

fn address(bus: Bus, address: u64) -> IoEventAddress {
    match bus {
        Bus::Pio => IoEventAddress::Pio(address),
        _ => IoEventAddress::Mmio(address),
    }
}

impl Backend for Kvm {
    fn ioeventfd(&self, request: &IoEventFd) -> Reply {
        ioctl::ioeventfd(self.fd(), request)
    }

    fn irqfd(&self, request: &IrqFd) -> Reply {
        ioctl::irqfd(self.fd(), request)
    }

    fn set_gsi_routing(&self, request: &Routing<'_>) -> Reply {
        ioctl::set_gsi_routing(self.fd(), request)
    }

    fn signal_msi(&self, request: &Msi) -> Reply {
        ioctl::signal_msi(self.fd(), request)
    }

    fn irq_line(&self, request: &IrqLevel) -> Reply {
        ioctl::irq_line(self.fd(), request)
    }

    fn irq_line_status(&self, request: &IrqLevel) -> Reply {
        ioctl::irq_line_status(self.fd(), request)
    }

    fn interrupt(&self, vector: u32) -> Reply {
        ioctl::interrupt(self.vcpus.borrow()[0].fd(), vector)
    }

    fn enable_x2apic_ids(&self) {
        let capability = kvm_enable_cap {
            cap: KVM_CAP_X2APIC_API,
            args: [KVM_X2APIC_API_USE_32BIT_IDS.into(), 0, 0, 0],
            ..Default::default()
        };
        self.fd().enable_cap(&capability).unwrap();
    }

    fn coalesce(&self, bus: Bus, start: u64, size: u32) -> Reply {
        let registered = self.fd().register_coalesced_mmio(address(bus, start), size);
        registered
            .map(|()| 0)
            .map_err(|error| nix::errno::Errno::from_raw(error.errno()))
    }

    fn add_rom(&self) {
        assert!(self.rom.set(Rom::new(self.fd())).is_ok(), "there is one");
    }

    fn guest_write(&self, bus: Bus, address: u64, bytes: &[u8]) -> Vec<ExitWrite> {
        self.guest(|guest, vcpu| guest.write(vcpu, bus, address, bytes))
    }

    fn guest_write_string(&self, port: u16, words: &[u16]) -> Vec<ExitWrite> {
        self.guest(|guest, vcpu| guest.write_string(vcpu, port, words))
    }

    fn guest_takes_interrupt(&self) -> Option<u8> {
        self.guest(|guest, vcpu| guest.take_interrupt(vcpu))
    }

    fn guest_interrupted(&self, vector: u32) -> Option<u8> {
        self.guest(|guest, vcpu| guest.interrupted(vcpu, vector))
    }

    fn enable_lapic(&self) {
        self.vcpus.borrow()[0].enable_lapic().unwrap();
    }

    fn disable_lapic(&self) {
        self.edit_lapic(|lapic| lapic.regs[SVR + 1] &= !1);
    }

    fn vectors(&self) -> Vec<u8> {
        self.vcpus.borrow()[0].pending_vectors().unwrap()
    }

    fn clear_vectors(&self) {
        self.edit_lapic(|lapic| lapic.regs[IRR].fill(0));
    }

    #[allow(unsafe_code)]
    fn pics(&self) -> [Pic; 2] {
        [KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE].map(|chip_id| {
            let chip = self.chip(chip_id);
            // SAFETY: the request was for a PIC, so KVM filled that part of the union; its fields
            // are bytes, for which every value is valid.
            let pic = unsafe { chip.chip.pic };
            Pic {
                irr: pic.irr,
                isr: pic.isr,
                imr: pic.imr,
            }
        })
    }

    #[allow(unsafe_code)]
    fn ioapic_irr(&self) -> u32 {
        // SAFETY: the request was for the IOAPIC, so KVM filled that part of the union; any value
        // is a valid `u32`.
        unsafe { self.chip(KVM_IRQCHIP_IOAPIC).chip.ioapic.irr }
    }

    #[allow(unsafe_code)]
    fn redirect_pin(&self, pin: u32, entry: u64) {
        let mut chip = self.chip(KVM_IRQCHIP_IOAPIC);
        // SAFETY: the request was for the IOAPIC, so KVM filled that part of the union, whose
        // redirection entries are a `u64` each; the array has no other representation.
        let entries = unsafe { &mut chip.chip.ioapic.redirtbl };
        entries[pin as usize].bits = entry;
        self.fd().set_irqchip(&chip).unwrap();
    }

    /// Signals an eventfd after all earlier signals, and deassigns it, which waits until that work
    /// is done. A worker does what one processor has queued in order.
    fn settle(&self) {
        if self.irqchip == Irqchip::None {
            return;
        }
        assert_eq!(self.irqfd(&irqfd(&self.flush, NOWHERE)), Ok(0));
        assert_eq!(self.flush.write(1), Ok(8));
        assert_eq!(self.irqfd(&unbind(&self.flush, NOWHERE)), Ok(0));
    }
}

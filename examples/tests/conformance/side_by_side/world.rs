// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One VM with its files, and its visible state.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::eventfd::EfdFlags;

use super::operation::{DUPLICATE, EVENTS, Operation, PIPE, SEMAPHORE};
use crate::backend::{Backend, Bus, ExitWrite, Irqchip, Pic, Reply};
use crate::event::{Event, pipe};
use crate::request::{IoEventFd, IrqFd, Routing};

pub(super) struct World {
    irqchip: Irqchip,
    vm: Box<dyn Backend>,
    events: Vec<Event>,
    pipe: OwnedFd,
}

/// The result of an operation, and the visible state afterwards.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    result: Result,
    vectors: Vec<u8>,
    pins: Option<([Pic; 2], u32)>,
    counters: Vec<PollFlags>,
}

#[derive(Debug, PartialEq, Eq)]
enum Result {
    Nothing,
    Reply(Reply),
    Written(core::result::Result<usize, Errno>),
    Count(core::result::Result<u64, Errno>),
    Exits(Vec<ExitWrite>),
    Vector(Option<u8>),
}

impl World {
    pub(super) fn new(vm: Box<dyn Backend>, irqchip: Irqchip) -> Self {
        let mut events: Vec<_> = (0..SEMAPHORE).map(|_| Event::new()).collect();
        events.push(Event::with(0, EfdFlags::EFD_SEMAPHORE));
        assert_eq!(DUPLICATE as usize, events.len());
        events.push(events[0].dup());
        assert_eq!(*EVENTS.end(), DUPLICATE);
        if irqchip != Irqchip::None {
            vm.enable_lapic();
        }
        if irqchip == Irqchip::Full {
            crate::r_resample::set_up(&*vm, [0, 0]);
        }
        Self {
            irqchip,
            vm,
            events,
            pipe: pipe(),
        }
    }

    fn fd(&self, file: i32) -> i32 {
        match file {
            PIPE => self.pipe.as_raw_fd(),
            event if EVENTS.contains(&event) => self.event(event).fd(),
            _ => -1,
        }
    }

    fn event(&self, number: i32) -> &Event {
        &self.events[number as usize]
    }

    pub(super) fn carry_out(&self, operation: &Operation) -> Outcome {
        let result = self.result(operation);
        self.vm.settle();
        let vectors = match self.irqchip {
            Irqchip::None => Vec::new(),
            _ => self.vm.vectors(),
        };
        let pins = match self.irqchip {
            Irqchip::Full => Some((self.vm.pics(), self.vm.ioapic_irr())),
            _ => None,
        };
        Outcome {
            result,
            vectors,
            pins,
            counters: self.events.iter().map(Event::poll).collect(),
        }
    }

    fn result(&self, operation: &Operation) -> Result {
        let vm = &self.vm;
        let (lapic, full) = (self.irqchip != Irqchip::None, self.irqchip == Irqchip::Full);
        match operation {
            Operation::IoEventFd(request) => Result::Reply(vm.ioeventfd(&IoEventFd {
                fd: self.fd(request.fd),
                ..*request
            })),
            Operation::IrqFd(request) => Result::Reply(vm.irqfd(&IrqFd {
                fd: self.fd(request.fd),
                resamplefd: self.fd(request.resamplefd),
                ..*request
            })),
            Operation::Routing(table) => Result::Reply(vm.set_gsi_routing(&Routing::of(table))),
            Operation::Msi(message) => Result::Reply(vm.signal_msi(message)),
            Operation::Line(line) => Result::Reply(vm.irq_line(line)),
            Operation::LineStatus(line) => Result::Reply(vm.irq_line_status(line)),
            // Without an irqchip KVM would inject it at once, in any state of the guest.
            Operation::Interrupt(vector) if lapic || *vector > 255 => {
                Result::Reply(vm.interrupt(*vector))
            }
            Operation::Coalesce(address) => Result::Reply(vm.coalesce(Bus::Mmio, *address, 4)),
            Operation::Write(event, count) => Result::Written(self.event(*event).write(*count)),
            Operation::Read(event) => Result::Count(self.event(*event).read()),
            Operation::Guest(bus, address, bytes) => {
                Result::Exits(vm.guest_write(*bus, *address, bytes))
            }
            // The guest has no handlers of other vectors.
            Operation::TakeInterrupt if lapic && vm.vectors().is_empty() => {
                Result::Vector(vm.guest_takes_interrupt())
            }
            Operation::Redirect(pin, entry) if full => {
                vm.redirect_pin(*pin, *entry);
                Result::Nothing
            }
            Operation::EnableLapic if lapic => {
                vm.enable_lapic();
                Result::Nothing
            }
            Operation::DisableLapic if lapic => {
                vm.disable_lapic();
                Result::Nothing
            }
            Operation::ClearVectors if lapic => {
                vm.clear_vectors();
                Result::Nothing
            }
            Operation::Interrupt(_)
            | Operation::TakeInterrupt
            | Operation::Redirect(..)
            | Operation::EnableLapic
            | Operation::DisableLapic
            | Operation::ClearVectors => Result::Nothing,
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the guest does, in the VM and in its mirror.

use notify_core::Bus;
use notify_sim::SimVm;

use super::machine::{LINES, Way, gsi, set_edge, write_ioapic, write_pics};
use super::redirection::Redirection;
use super::step::{Guest, Kind};
use super::world::World;

impl World {
    pub(super) fn guest(&mut self, guest: &Guest) {
        match guest {
            Guest::Take(at) => drop(self.take(usize::from(*at))),
            Guest::End(at) => self.end(usize::from(*at)),
            Guest::Serve(at) => {
                self.take(usize::from(*at));
                self.end(usize::from(*at));
            }
            Guest::IoApic(at, entry) if self.way() == Way::Message => {
                self.redirect(usize::from(*at), Redirection::from(*entry));
            }
            Guest::Edge(at, edge) if self.kind.is_pc() || self.kind == Kind::Gic => {
                self.set_edge(usize::from(*at), *edge);
            }
            Guest::TakePic | Guest::EndPic(_) | Guest::MaskPic(_) | Guest::Edge(..)
                if !self.kind.is_pc() =>
            {
                self.guest(&Guest::Serve(false));
            }
            Guest::TakePic => drop(self.take_pic()),
            Guest::EndPic(command) => self.command_pics(*command),
            Guest::MaskPic(mask) => {
                for port in [0x21, 0xa1] {
                    self.both(|vm| drop(vm.guest_write(Bus::Pio, port, &[*mask])));
                }
            }
            Guest::IoApic(at, entry) => {
                self.write_entry(usize::from(*at), Redirection::from(*entry));
            }
            Guest::Edge(..) => {}
            Guest::Lapic(vcpu, on) => self.set_lapic(usize::from(*vcpu), *on),
        }
        self.hear();
    }

    pub(super) fn both<R: PartialEq + std::fmt::Debug>(&self, act: impl Fn(&SimVm) -> R) -> R {
        let result = act(&self.machine.vm);
        assert_eq!(
            result,
            act(&self.mirror.vm),
            "the guest sees the difference"
        );
        result
    }

    /// The kernel notifies devices.
    pub(super) fn hear(&mut self) {
        for at in 0..LINES {
            let eois = self.mirror.heard(at);
            self.lines[at].notify_bound(eois);
        }
    }

    pub(super) fn write_entry(&self, at: usize, entry: Redirection) {
        self.both(|vm| write_ioapic(vm, gsi(self.kind, at), entry));
    }

    pub(super) fn set_lapic(&mut self, vcpu: usize, on: bool) {
        self.lapics[vcpu] = on;
        self.both(|vm| match on {
            true => vm.enable_lapic(vcpu),
            false => vm.disable_lapic(vcpu),
        });
    }

    pub(super) fn set_edge(&mut self, at: usize, edge: bool) {
        self.edges[at] = edge;
        self.has_had_edges |= edge;
        self.both(|vm| set_edge(vm, self.kind, at, edge));
    }

    /// Takes the interrupt that a vCPU has to take, or that of a line where there are no vectors.
    pub(super) fn take(&mut self, at: usize) -> Option<u8> {
        let pin = gsi(self.kind, at);
        match self.kind {
            Kind::Own => {
                let mirror = &mut self.mirror.chips[at];
                let taken = std::mem::take(&mut mirror.requested);
                mirror.in_service |= taken;
                let real = self.machine.chips[at].take();
                assert_eq!(real, taken, "the guest sees the difference");
                taken.then_some(0)
            }
            Kind::Gic | Kind::Aplic => self.both(|vm| vm.take_pin(pin)).then_some(0),
            _ => {
                let taken = self.both(|vm| vm.take_vector(at))?;
                self.serving[at].push(taken);
                Some(taken)
            }
        }
    }

    pub(super) fn end(&mut self, at: usize) {
        match self.kind {
            Kind::Own => {
                self.mirror.chips[at].in_service = false;
                self.machine.chips[at].end();
                self.end_of_pin(at);
            }
            Kind::Gic | Kind::Aplic => self.both(|vm| vm.guest_eoi(0, gsi(self.kind, at))),
            _ => {
                let Some(vector) = self.serving[at].pop() else {
                    return;
                };
                self.both(|vm| vm.lapic_eoi(at));
                if self.way() == Way::Message {
                    self.end_of_vector(vector);
                }
            }
        }
        self.hear();
    }

    /// An EOI exit of a split irqchip.
    fn end_of_vector(&mut self, vector: u8) {
        let exits = self.machine.exits.clone();
        let ended = self.call(0, |_| exits.on_vector(vector));
        let fails = self.failed.map(|(_, nth)| nth);
        let (mut expected, mut calls) = (0, 0);
        for at in 0..LINES {
            let line = &self.lines[at];
            if !line.entry.ends(vector) || self.kind == Kind::SplitWithoutEois {
                continue;
            }
            expected += 1;
            // It sends again, by a request or by its own irqfd, which may have to be bound.
            let sends = line.is_open() && line.is_high() && !line.has_sender;
            calls += u8::from(sends);
            self.end_service(at, !(sends && fails == Some(calls)));
        }
        assert_eq!(ended, expected, "the lines of a vector");
    }

    /// The EOI of a pin, which both of the VMM's controllers have.
    fn end_of_pin(&mut self, at: usize) {
        let exits = self.machine.exits.clone();
        let ended = self.call(at, |_| exits.on_pin(gsi(Kind::Own, at)));
        assert_eq!(ended, LINES, "the lines of a pin");
        let failed = self.failed.is_some();
        (0..LINES).for_each(|line| self.end_service(line, !(failed && line == at)));
    }

    pub(super) fn take_pic(&mut self) -> Option<u8> {
        let taken = self.both(SimVm::take_pic);
        self.hear();
        taken
    }

    pub(super) fn command_pics(&mut self, command: u8) {
        let write = |port, byte| {
            self.both(|vm| drop(vm.guest_write(Bus::Pio, port, &[byte])));
        };
        match command % 16 {
            10 => write(0xa0, 0x20),
            11 => write(0xa0, 0x62), // of the first line
            12 => write(0x20, 0xa0), // with rotation
            13 => write(0xa0, 0x11), // half of the initialisation
            14 | 15 => self.both(write_pics),
            _ => [0xa0, 0x20].into_iter().for_each(|port| write(port, 0x20)),
        }
        self.hear();
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random histories of a line beside a model, on each kind of VM.
//!
//! The model is the wire: it is high while any device holds it up. The behaviour of the interrupt
//! controller is written again for each kind, independent of the line's code.

use std::collections::BTreeSet;
use std::sync::Arc;

use irqfd::{EoiExits, LevelIrq, LevelLine};
use notify_sim::SimVm;
use proptest::prelude::*;

use super::bench::{self, Chip, VECTOR};
use super::{exported, heard, own, signal, told};

const OTHER_VECTOR: u8 = 0x72;

#[derive(Debug, Clone)]
enum Step {
    Join(Kind),
    /// Whether it leaves by drop.
    Leave(usize, bool),
    Assert(usize),
    Deassert(usize),
    Signal(usize),
    /// The guest takes an interrupt, if there is one.
    Take,
    /// The guest sends the EOI of the interrupt that it took last, if any.
    End,
    /// The guest writes the redirection entry.
    Redirect(Entry),
    Resync,
    Pause,
    Resume,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Own,
    Told,
    Exported,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    vector: u8,
    level: bool,
    masked: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(vec![Kind::Own, Kind::Told, Kind::Exported]);
    let who = || 0..8_usize;
    let entry = (
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.4),
    );
    let entry = entry.prop_map(|(other, level, masked)| Entry {
        vector: if other { OTHER_VECTOR } else { VECTOR },
        level,
        masked,
    });
    prop_oneof![
        3 => kind.prop_map(Step::Join),
        2 => (who(), any::<bool>()).prop_map(|(who, dropped)| Step::Leave(who, dropped)),
        6 => who().prop_map(Step::Assert),
        5 => who().prop_map(Step::Deassert),
        6 => who().prop_map(Step::Signal),
        8 => Just(Step::Take),
        8 => Just(Step::End),
        4 => entry.prop_map(Step::Redirect),
        1 => Just(Step::Resync),
        2 => Just(Step::Pause),
        3 => Just(Step::Resume),
    ]
}

/// A device, and its state in the model.
struct Device {
    irq: LevelIrq,
    kind: Kind,
    asserted: bool,
    /// Its trigger was signalled, and the device was not signalled since.
    waits: bool,
    /// The signal is in the eventfd, since the entry is masked or the line paused.
    kept: bool,
    /// It has joined while the line was paused.
    late: bool,
    told: u64,
}

/// The state from which the guest's interrupts follow.
enum Guest {
    IoApic(Arc<SimVm>),
    Pic(Arc<SimVm>),
    Split(Arc<SimVm>, EoiExits),
    Controller(Arc<Chip>, EoiExits),
}

/// The guest's view of a paused line.
#[derive(Clone, Copy)]
struct Paused {
    own_level: bool,
    level: bool,
    /// The kernel signals EOIs.
    resamples: bool,
    /// The kernel has signalled one.
    missed: bool,
    /// An edge-triggered entry has a message to send.
    has_risen: bool,
}

struct World {
    line: LevelLine,
    guest: Guest,
    devices: Vec<Device>,
    /// The kernel holds the pin up for a resampling irqfd.
    triggered: bool,
    /// The vectors that the guest has taken without an EOI; the last is the innermost.
    serving: Vec<u8>,
    /// The vectors pending in the local APIC.
    pending: BTreeSet<u8>,
    /// The controller awaits an EOI.
    in_service: bool,
    /// Recent EOIs were not reported.
    had_edges: bool,
    entry: Entry,
    paused: Option<Paused>,
}

impl World {
    fn new(which: usize) -> Self {
        let (line, guest) = match which {
            0 => {
                let (vm, _, line) = bench::pc();
                bench::use_ioapic(&vm);
                (line, Guest::IoApic(vm))
            }
            1 => {
                let (vm, _, line) = bench::pc();
                bench::use_pic(&vm);
                (line, Guest::Pic(vm))
            }
            2 => {
                let (vm, _, line, exits) = bench::split();
                (line, Guest::Split(vm, exits))
            }
            3 => {
                let (vm, _, line, exits) = bench::split_by_irqfd();
                (line, Guest::Split(vm, exits))
            }
            _ => {
                let (chip, line, exits) = bench::on_chip();
                (line, Guest::Controller(chip, exits))
            }
        };
        let is_split = matches!(guest, Guest::Split(..));
        Self {
            line,
            guest,
            devices: Vec::new(),
            triggered: false,
            serving: Vec::new(),
            pending: BTreeSet::new(),
            in_service: false,
            had_edges: false,
            entry: Entry {
                vector: if is_split { 0 } else { VECTOR },
                level: !is_split,
                masked: is_split,
            },
            paused: None,
        }
    }

    fn in_kernel(&self) -> bool {
        matches!(self.guest, Guest::IoApic(_) | Guest::Pic(_))
    }

    fn is_split(&self) -> bool {
        matches!(self.guest, Guest::Split(..))
    }

    /// Whether the VMM's devices hold the line up.
    fn own_level(&self) -> bool {
        self.devices.iter().any(|device| device.asserted)
    }

    fn level(&self) -> bool {
        self.own_level() || self.triggered
    }

    /// The controller's view of that.
    fn pin(&self) -> bool {
        match self.paused {
            Some(paused) if self.in_kernel() => paused.own_level || self.triggered,
            Some(paused) => paused.level,
            None => self.level(),
        }
    }

    /// The controller checks the line.
    fn settle(&mut self) {
        let entry = self.entry;
        match self.guest {
            // An IOAPIC sends the vector, and waits for its EOI, whatever the line does meanwhile.
            Guest::IoApic(_) => {
                if self.pin() && !self.in_service {
                    self.in_service = true;
                    self.pending.insert(VECTOR);
                }
            }
            Guest::Split(..) => {
                let is_open = !entry.masked && self.paused.is_none();
                let called = entry.level && is_open && self.own_level();
                if called && !self.in_service {
                    self.in_service = true;
                    self.pending.insert(entry.vector);
                }
            }
            // These show the line as it is, until the processor takes the interrupt.
            Guest::Pic(_) | Guest::Controller(..) => {
                let wanted = self.pin() && self.serving.is_empty();
                self.pending.clear();
                self.pending.extend(wanted.then_some(VECTOR));
            }
        }
    }

    fn tell(&mut self) {
        for device in &mut self.devices {
            device.waits = device.kept;
            device.told += u64::from(device.kind != Kind::Own);
        }
    }

    /// The kernel signals every bound device.
    fn tell_by_kernel(&mut self) {
        let Some(paused) = &mut self.paused else {
            return self.tell();
        };
        paused.missed |= paused.resamples;
        for device in &mut self.devices {
            device.told += u64::from(device.kind == Kind::Told && !device.late);
        }
    }

    fn pause(&mut self) {
        self.line.pause().unwrap();
        let resamples = self.devices.iter().any(|device| device.kind != Kind::Own);
        self.paused.get_or_insert(Paused {
            own_level: self.own_level(),
            level: self.level(),
            resamples,
            missed: false,
            has_risen: false,
        });
    }

    fn resume(&mut self) {
        self.line.resume().unwrap();
        let Some(paused) = self.paused.take() else {
            return;
        };
        let (entry, in_kernel) = (self.entry, self.in_kernel());
        let is_edge = self.is_split() && !entry.level;
        if is_edge && !entry.masked && paused.has_risen {
            self.pending.insert(entry.vector);
        }
        self.had_edges = is_edge && (self.had_edges || !entry.masked);
        for device in &mut self.devices {
            device.late = false;
            if in_kernel && paused.missed && device.kind == Kind::Exported {
                device.told += 1;
                device.waits = device.kept;
            }
        }
        self.deliver_kept();
        let someone_hears = self.devices.iter().any(|device| device.kind != Kind::Own);
        self.triggered &= someone_hears || !in_kernel;
    }

    /// Signals in the eventfds are delivered, if they may be.
    fn deliver_kept(&mut self) {
        if self.entry.masked || self.paused.is_some() {
            return;
        }
        for device in &mut self.devices {
            if std::mem::take(&mut device.kept) {
                match self.guest {
                    Guest::Split(..) => drop(self.pending.insert(self.entry.vector)),
                    _ => self.triggered = true,
                }
            }
        }
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::Join(kind) => self.join(*kind),
            Step::Resync => {
                self.line.resync().unwrap();
                self.tell();
                match self.guest {
                    Guest::Split(..) => self.in_service = false,
                    Guest::Controller(..) => self.triggered = false,
                    _ => {}
                }
            }
            Step::Pause => self.pause(),
            Step::Resume => self.resume(),
            Step::Take => self.take(),
            Step::End => self.end(),
            Step::Redirect(entry) => self.redirect(*entry),
            Step::Leave(who, _) | Step::Assert(who) | Step::Deassert(who) | Step::Signal(who) => {
                if let Some(count) = std::num::NonZeroUsize::new(self.devices.len()) {
                    self.device(*who % count, step);
                }
            }
        }
    }

    fn join(&mut self, kind: Kind) {
        if self.devices.len() == 6 {
            return;
        }
        let irq = match kind {
            Kind::Own => own(&self.line),
            Kind::Told => told(&self.line),
            Kind::Exported => exported(&self.line),
        };
        self.devices.push(Device {
            irq,
            kind,
            asserted: false,
            waits: false,
            kept: false,
            late: self.paused.is_some(),
            told: 0,
        });
    }

    fn device(&mut self, who: usize, step: &Step) {
        let was_high = self.own_level();
        let device = &mut self.devices[who];
        match step {
            Step::Leave(_, dropped) => {
                let device = self.devices.remove(who);
                match dropped {
                    true => drop(device.irq),
                    false => device.irq.leave().unwrap(),
                }
                let someone_hears = self.devices.iter().any(|device| device.kind != Kind::Own);
                let others_wait = self.devices.iter().any(|device| device.waits);
                // A kernel that has one level for all triggers lowers it for the last of them.
                // While the line is paused it has a separate level there.
                self.triggered &= if self.in_kernel() {
                    someone_hears || self.paused.is_some()
                } else {
                    others_wait
                };
            }
            Step::Assert(_) => {
                device.irq.assert().unwrap();
                device.asserted = true;
                let rises = !was_high && !self.entry.level && !self.entry.masked;
                if self.is_split() && rises {
                    match &mut self.paused {
                        Some(paused) => paused.has_risen = true,
                        None => drop(self.pending.insert(self.entry.vector)),
                    }
                }
            }
            Step::Deassert(_) => {
                device.irq.deassert().unwrap();
                device.asserted = false;
            }
            Step::Signal(_) if device.kind == Kind::Exported => {
                signal(&device.irq);
                device.waits = true;
                match &self.guest {
                    Guest::Split(_, _) if self.entry.masked => device.kept = true,
                    Guest::Split(vm, _) | Guest::IoApic(vm) | Guest::Pic(vm)
                        if self.paused.is_some() =>
                    {
                        drop(vm.deliver());
                        device.kept = true;
                    }
                    Guest::Split(vm, _) => {
                        drop(vm.deliver());
                        self.pending.insert(self.entry.vector);
                    }
                    Guest::Controller(..) => {
                        assert!(device.irq.take_trigger().unwrap());
                        self.triggered = true;
                    }
                    Guest::IoApic(vm) | Guest::Pic(vm) => {
                        drop(vm.deliver());
                        self.triggered = true;
                    }
                }
            }
            _ => {}
        }
    }

    fn take(&mut self) {
        let busy = self.serving.last().map(|vector| vector >> 4);
        let next = self.pending.last().copied();
        let next = next.filter(|vector| busy.is_none_or(|busy| busy < vector >> 4));
        let taken = match &self.guest {
            Guest::IoApic(vm) | Guest::Split(vm, _) => vm.take_vector(0),
            Guest::Pic(vm) if next.is_some() => vm.take_pic(),
            Guest::Pic(_) => None, // this would be a spurious one
            Guest::Controller(chip, _) => chip.take().then_some(VECTOR),
        };
        assert_eq!(taken, next);
        if let Some(vector) = taken {
            self.pending.remove(&vector);
            self.serving.push(vector);
        }
    }

    fn end(&mut self) {
        let Some(vector) = self.serving.pop() else {
            return;
        };
        // Before the operation, since the line signals at once.
        let of_line = !self.is_split() || self.entry.level && self.entry.vector == vector;
        if of_line {
            match self.in_kernel() {
                true => self.tell_by_kernel(),
                false => self.tell(),
            }
            (self.in_service, self.triggered) = (false, false);
        }
        match &self.guest {
            Guest::IoApic(vm) => vm.lapic_eoi(0),
            Guest::Pic(vm) => bench::pic_eoi(vm),
            Guest::Split(vm, exits) => {
                vm.lapic_eoi(0);
                assert_eq!(exits.on_vector(vector), usize::from(of_line));
            }
            Guest::Controller(chip, exits) => {
                chip.end();
                assert_eq!(exits.on_pin(bench::GSI), 1);
            }
        }
    }

    fn redirect(&mut self, new: Entry) {
        if !self.is_split() {
            return;
        }
        let message = match new.level {
            true => bench::level(new.vector),
            false => bench::edge(new.vector),
        };
        self.line.redirect(message, new.masked).unwrap();
        let old = std::mem::replace(&mut self.entry, new);
        let has_exported = self
            .devices
            .iter()
            .any(|device| device.kind == Kind::Exported);
        let same = new.level && old.level && new.vector == old.vector;
        let changed = (old.level || new.level) && !same;
        let unheard = has_exported && (old.level || self.had_edges);
        if changed && (self.in_service || unheard) {
            self.tell();
            self.in_service = false;
        }
        let is_open = !new.masked && self.paused.is_none();
        self.had_edges = !new.level && (self.had_edges || is_open);
        self.deliver_kept();
    }

    #[track_caller]
    fn check(&mut self) {
        self.settle();
        let own_level = self.own_level();
        let triggers_show = matches!(self.guest, Guest::Controller(..));
        let level = own_level || triggers_show && self.triggered;
        assert_eq!(self.line.is_asserted(), level, "as the line knows");
        let pending: Vec<u8> = self.pending.iter().copied().collect();
        match &self.guest {
            Guest::IoApic(vm) => {
                assert_eq!(bench::pin(vm), self.pin(), "the pin");
                assert_eq!(vm.pending_vectors(0), pending);
            }
            Guest::Pic(vm) => {
                assert_eq!(bench::pin(vm), self.pin(), "the pin");
                let irr = vm.pic().unwrap()[1].irr;
                assert_eq!(irr != 0, self.pin(), "the PIC's pin");
            }
            Guest::Split(vm, _) => assert_eq!(vm.pending_vectors(0), pending),
            Guest::Controller(chip, _) => {
                assert_eq!(chip.level(), self.pin(), "the pin");
                assert_eq!(chip.wants(), !pending.is_empty());
            }
        }
        for device in &mut self.devices {
            assert_eq!(device.irq.is_asserted(), device.asserted);
            if device.kind != Kind::Own {
                assert_eq!(heard(&device.irq), device.told);
                device.told = 0;
            }
        }
        self.check_no_device_waits_for_ever();
    }

    /// Without what the model has of an interrupt in service: after a resync a line that is high
    /// and not masked has an interrupt to come.
    #[track_caller]
    fn check_no_device_waits_for_ever(&self) {
        if !self.entry.level || self.entry.masked || self.paused.is_some() {
            return;
        }
        let vector = self.entry.vector;
        let to_come = self.pending.contains(&vector) || self.serving.contains(&vector);
        let waits = |device: &Device| device.asserted || device.waits;
        assert!(
            to_come || !self.devices.iter().any(waits),
            "a line is stuck"
        );
    }

    /// All devices leave, and the line is low.
    fn end_of_all(mut self) {
        self.devices.clear();
        self.line.resume().unwrap();
        assert!(!self.line.is_asserted());
        match &self.guest {
            Guest::IoApic(vm) | Guest::Pic(vm) => assert!(!bench::pin(vm)),
            Guest::Controller(chip, _) => assert!(!chip.level()),
            Guest::Split(..) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn histories(which in 0..5_usize, steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(which);
        world.check();
        for step in &steps {
            world.act(step);
            world.check();
        }
        world.end_of_all();
    }
}

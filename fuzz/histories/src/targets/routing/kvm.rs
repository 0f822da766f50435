// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The same histories on a KVM VM and a simulated one at the same time, with signals.

use std::cell::RefCell;
use std::fmt::Debug;
use std::os::fd::AsFd;
use std::sync::Arc;

use irq_routing::{IrqChip, MsiMessage, Route};
use kvm_test::Machine;
use notify_core::{EventNotifier, IrqFdRequest, RouteBuffer, Vm};
use notify_sim::SimVm;

use crate::History;

use super::model::translated;
use super::step::Step;
use super::world::{LIMITS, World, message};

/// Pin n of the IOAPIC delivers this vector plus n. Messages have greater ones.
const FIRST_PIN: u8 = 0x30;

/// A VM of each kind, with an irqfd on each GSI. They are kept for the next history: creating a KVM
/// VM takes as long as a thousand steps.
#[derive(Debug)]
struct Pair {
    real: Machine,
    sim: Arc<SimVm>,
    /// By GSI; those of the KVM VM first.
    calls: Vec<[EventNotifier; 2]>,
}

/// The two VMs of a world.
type Pairs = [Pair; 2];

thread_local! {
    static PAIRS: RefCell<Option<Pairs>> = const { RefCell::new(None) };
}

#[track_caller]
fn same<T: Debug + PartialEq>([real, sim]: [T; 2]) -> T {
    assert!(real == sim, "KVM returned {real:?}, SimVm {sim:?}");
    real
}

impl Pair {
    fn new(limit: u32) -> Self {
        let real = Machine::new().expect("/dev/kvm works");
        real.use_32bit_ids().expect("KVM has 32-bit ids");
        real.unmask_ioapic(FIRST_PIN).expect("there is an IOAPIC");
        let sim = SimVm::builder().resample_at_unmask(kvm_test::kernel() >= (6, 3, 0));
        let sim = Arc::new(sim.build());
        sim.enable_lapic(0);
        sim.enable_x2apic_ids();
        let mut ioapic = sim.ioapic().expect("there is an IOAPIC");
        for (vector, redirection) in (u64::from(FIRST_PIN)..).zip(&mut ioapic.redirections) {
            *redirection = vector;
        }
        sim.set_ioapic(ioapic);
        let new = || EventNotifier::new().expect("an eventfd");
        let calls = (0..limit).map(|_| [new(), new()]).collect();
        let pair = Self { real, sim, calls };
        (0..limit).for_each(|gsi| pair.bind(gsi, true));
        pair
    }

    fn vms(&self) -> [Arc<dyn Vm>; 2] {
        [self.real.vm(), self.sim.clone()]
    }

    /// Binds or unbinds the irqfds of a GSI. Unbinding waits for KVM's workers.
    fn bind(&self, gsi: u32, assign: bool) {
        for (vm, call) in self.vms().iter().zip(&self.calls[gsi as usize]) {
            let request = match assign {
                true => IrqFdRequest::assign(call.as_fd(), gsi),
                false => IrqFdRequest::deassign(call.as_fd(), gsi),
            };
            vm.irqfd(&request).expect("an irqfd of this GSI");
        }
    }

    /// Removes the routes of the previous history.
    fn reset(&self) {
        for vm in self.vms() {
            let empty = vm.set_gsi_routing(&RouteBuffer::new());
            empty.expect("an empty table is fine");
        }
        self.take_vectors();
    }

    /// Takes what was delivered since the last call.
    fn take_vectors(&self) -> Vec<u8> {
        let real = self.real.delivered().expect("a local APIC");
        let vectors = same([real, self.sim.pending_vectors(0)]);
        if !vectors.is_empty() {
            self.real.clear().expect("a local APIC");
            self.sim.clear_vectors(0);
        }
        // The VM keeps them until they are read.
        let _ = self.sim.deliver();
        vectors
    }

    /// Signals a GSI, and expects the interrupt of its route.
    fn signal(&self, gsi: u32, by_irqfd: bool, route: Option<&Route>) {
        let expected: Vec<u8> = match route {
            None => vec![],
            Some(Route::Msi(message)) => vec![message.data.to_le_bytes()[0]],
            Some(Route::Pins(pins)) => pins
                .iter()
                .filter(|pin| pin.chip() == IrqChip::IoApic)
                .map(|pin| FIRST_PIN + pin.number() as u8)
                .collect(),
            Some(other) => panic!("{other:?}"),
        };
        if by_irqfd {
            for call in &self.calls[gsi as usize] {
                call.notify().expect("a counter that is not full");
            }
            // A message is delivered in the call. Everything else KVM leaves to a worker, which
            // uses the route at the time when it runs.
            if !matches!(route, Some(Route::Msi(_))) {
                self.bind(gsi, false);
                self.bind(gsi, true);
            }
        } else {
            for level in [true, false] {
                let status = |vm: Arc<dyn Vm>| format!("{:?}", vm.irq_line_status(gsi, level));
                same(self.vms().map(status));
            }
        }
        assert_eq!(self.take_vectors(), expected, "a signal of GSI {gsi}");
    }

    /// Sends a message.
    fn send(&self, message: MsiMessage) {
        let outcome = same(self.vms().map(|vm| {
            let outcome = vm.signal_msi(&message);
            outcome.map_err(|error| error.raw_os_error())
        }));
        let expected = match outcome {
            Ok(_) => vec![message.data.to_le_bytes()[0]],
            Err(_) => vec![],
        };
        assert_eq!(self.take_vectors(), expected, "a message of its own");
    }
}

/// Tables of a KVM VM and of a simulated one.
#[derive(Debug)]
pub enum RoutingCommitsKvm {}

impl History for RoutingCommitsKvm {
    type Step = Step;

    fn run(steps: &[Step]) {
        // The VMs of a history that failed are not kept.
        let pairs = PAIRS.with_borrow_mut(Option::take);
        let pairs = pairs.unwrap_or_else(|| LIMITS.map(Pair::new));
        pairs.iter().for_each(Pair::reset);
        let mut worlds = [0, 1].map(|kind| {
            let vm = |pair: usize| {
                let [real, sim] = pairs[pair].vms();
                Some(if kind == 0 { real } else { sim })
            };
            World::new([0, 1].map(vm), true)
        });
        for step in steps {
            worlds.iter_mut().for_each(|world| world.step(step));
            same(
                worlds
                    .each_mut()
                    .map(|world| std::mem::take(&mut world.returned)),
            );
            let model = |table: usize| &worlds[0].models[table];
            match *step {
                Step::Signal(table, gsi, by_irqfd) => {
                    let table = usize::from(table);
                    let gsi = u32::from(gsi) % LIMITS[table];
                    let route = model(table).kernel.get(&gsi);
                    pairs[table].signal(gsi, by_irqfd, route);
                }
                Step::Send(number) => {
                    let message = message(number);
                    let sent = worlds
                        .each_ref()
                        .map(|world| world.tables[0].translate(message));
                    let sent = same(sent);
                    assert_eq!(Ok(sent), translated(&model(0).rules, message));
                    if let Some(sent) = sent {
                        pairs[0].send(sent);
                    }
                }
                _ => {}
            }
        }
        drop(worlds);
        PAIRS.set(Some(pairs));
    }
}

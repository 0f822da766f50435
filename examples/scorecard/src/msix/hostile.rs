// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest unmasks a device whose messages KVM refuses. Another device's unmask waits meanwhile.
//!
//! One thread does everything in a fixed order, so the counts are the same in each run. The other
//! device's vector is unmasked when the first commit of the hostile round has begun: it is too late
//! for that round, and waits for all of it.

use std::error::Error;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use irq_routing::{GsiLease, MsiMessage, RoutingTable};
use irqfd::{ArmQueue, Vector, VectorHandle, VectorState, msix};
use kvm_bindings::{KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS, kvm_enable_cap};
use kvm_ioctls::VmFd;
use notify_core::{KvmVm, Vm};

use super::{ADDRESS, VECTOR, machine};
use crate::counting::Counting;
use crate::measure::median;
use crate::row::Row;

const ROUNDS: u32 = 3;
/// Without the hostile device the wait is much shorter, so it is repeated.
const OTHERS: u32 = 7;
/// How many routes of other devices there are.
const BACKGROUND: u32 = 1900;
/// KVM refuses this address where APIC ids have 32 bits: bits 32 to 39 must be zero.
const REFUSED: u64 = 1 << 32 | ADDRESS as u64;
/// How many rounds of the queue are run at most until the unmasked vector is armed.
const MOST_ROUNDS: u32 = 10_000;

/// The time and commits from the unmask of the other device's vector until it was armed.
struct Wait {
    ns: f64,
    /// How many commits began, including the one during which the vector was unmasked.
    commits: u32,
    /// How many of these were of the hostile round.
    hostile: u32,
}

/// The wait beside a hostile device of `vectors` vectors, against the same without it.
pub(crate) fn delay(vectors: u32) -> Result<Row, Box<dyn Error>> {
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(Scene::new()?.hostile(vectors)?);
        for _ in 0..OTHERS {
            others.push(Scene::new()?.alone()?);
        }
    }
    let ns = |waits: &[Wait]| median(waits.iter().map(|wait| wait.ns).collect());
    let most = |waits: &[Wait], of: fn(&Wait) -> u32| waits.iter().map(of).max().unwrap_or(0);
    let commits = most(&ours, |wait| wait.commits);
    let alone = most(&others, |wait| wait.commits);
    let hostile = most(&ours, |wait| wait.hostile);
    Ok(Row::times(
        "without the hostile device",
        ns(&ours),
        ns(&others),
        format!(
            "an unmask until the vector is armed, while a guest opens {vectors} exported vectors \
             of another device, whose messages KVM refuses; commits until then {commits} against \
             {alone}, in the hostile round {hostile}"
        ),
    ))
}

/// A VM with the routes of other devices, and a vector that is to be unmasked.
struct Scene {
    bystander: Arc<Vector>,
    queue: ArmQueue,
    table: RoutingTable,
    _background: Vec<GsiLease>,
    counting: Arc<Counting>,
    vm: Arc<KvmVm>,
    _vm_fd: VmFd,
}

impl Scene {
    fn new() -> Result<Self, Box<dyn Error>> {
        let (vm_fd, vm) = machine()?;
        let mut capability = kvm_enable_cap {
            cap: KVM_CAP_X2APIC_API,
            ..kvm_enable_cap::default()
        };
        let [argument, ..] = &mut capability.args;
        *argument = KVM_X2APIC_API_USE_32BIT_IDS.into();
        vm_fd.enable_cap(&capability)?;

        let counting = Arc::new(Counting::new(Arc::clone(&vm)));
        let table = RoutingTable::new(counting.clone())?;
        let message = MsiMessage::new(ADDRESS.into(), VECTOR);
        let background: Vec<_> = (0..BACKGROUND)
            .map(|_| table.lease())
            .collect::<Result<_, _>>()?;
        let mut transaction = table.transaction();
        for lease in &background {
            transaction.route(lease, message);
        }
        transaction.commit()?;

        let queue = ArmQueue::new(&table)?;
        let bystander = Vector::builder(&table).queue(&queue).build()?;
        bystander.set_message(message)?;
        bystander.export()?;
        counting.reset();
        Ok(Self {
            bystander: Arc::new(bystander),
            queue,
            table,
            _background: background,
            counting,
            vm,
            _vm_fd: vm_fd,
        })
    }

    /// Unmasks the vector while there is no other device.
    fn alone(&self) -> Result<Wait, Box<dyn Error>> {
        let start = Instant::now();
        self.bystander.unmask()?;
        self.until_armed(start, 0)
    }

    /// Unmasks the vector during the round that serves the hostile device.
    fn hostile(&self, vectors: u32) -> Result<Wait, Box<dyn Error>> {
        let device = self.device(vectors)?;
        let (sender, receiver) = channel();
        let bystander = Arc::clone(&self.bystander);
        self.counting.at_next_commit(move || {
            let start = Instant::now();
            // This cannot fail: the receiver outlives the round.
            let _ = sender.send(bystander.unmask().map(|()| start));
        });
        let _ = self.queue.run_pending();
        let hostile = self.counting.commits();
        let unmasked = receiver.try_recv();
        let start = unmasked.map_err(|_| "the hostile round has committed nothing")??;
        let wait = self.until_armed(start, hostile)?;
        let armed = |vector: &VectorHandle| matches!(vector.state(), VectorState::Armed);
        match device.vectors().iter().any(armed) {
            true => Err("KVM took a message of the hostile device".into()),
            false => Ok(wait),
        }
    }

    /// Creates a device all of whose messages KVM refuses, and enters its vectors in the queue.
    fn device(&self, vectors: u32) -> Result<msix::Table, Box<dyn Error>> {
        let device = msix::Table::builder(&self.table)
            .vectors(vectors as usize)
            .queue(&self.queue)
            .build()?;
        let _ = device.set_control(true, true);
        for (vector, entry) in device.vectors().iter().zip((0..).step_by(16)) {
            vector.export()?;
            // Data, and a vector control that does not mask it.
            for (offset, value) in [(entry, REFUSED), (entry + 8, VECTOR.into())] {
                let _ = device.write(offset, &value.to_le_bytes());
            }
        }
        let _ = device.set_control(true, false);
        Ok(device)
    }

    /// Runs the queue, as its owner does, until the unmasked vector is armed.
    fn until_armed(&self, start: Instant, hostile: u32) -> Result<Wait, Box<dyn Error>> {
        for _ in 0..MOST_ROUNDS {
            let _ = self.queue.run_pending();
            match self.bystander.state() {
                VectorState::Armed => {
                    return Ok(Wait {
                        ns: start.elapsed().as_secs_f64() * 1e9,
                        commits: self.counting.commits(),
                        hostile,
                    });
                }
                VectorState::Dead(reason) => return Err(reason.to_string().into()),
                _ => {}
            }
        }
        Err(format!("the vector is still {:?}", self.bystander.state()).into())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The VM is closed with everything in it.
        self.vm.retire();
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What connects the guest with the device, on KVM and on the simulator.

use std::error::Error;
use std::sync::Arc;

use ioeventfd::{IoAddress, IoEventFd};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::IrqFd;
use notify_core::{NotifierPair, Vm};

use crate::bells::{self, Bell, QUEUES};

/// The address of an MSI to the first vCPU; the vector is the message's data.
const MSI_ADDRESS: u64 = 0xfee0_0000;
/// The vector of the first queue's interrupt; the others follow.
pub(crate) const FIRST_VECTOR: u8 = 0x40;

/// The vector of a queue's interrupt.
pub(crate) fn vector(queue: usize) -> u8 {
    (FIRST_VECTOR..).nth(queue).unwrap_or(u8::MAX)
}

/// The queues of a VM, with their interrupts armed.
pub(crate) struct Wiring {
    pub(crate) table: RoutingTable,
    pub(crate) queues: Vec<NotifierPair>,
    /// Armed as long as this lives.
    _irqs: Vec<IrqFd>,
}

impl Wiring {
    /// Routes all queues with one ioctl, then arms them.
    pub(crate) fn new(vm: Arc<dyn Vm>) -> Result<Self, Box<dyn Error>> {
        let table = RoutingTable::new(vm)?;
        let mut transaction = table.transaction();
        let (mut queues, mut leases) = (Vec::new(), Vec::new());
        for (_, vector) in (0..QUEUES).zip(FIRST_VECTOR..) {
            let lease = table.lease()?;
            transaction.route(&lease, MsiMessage::new(MSI_ADDRESS, vector.into()));
            leases.push(lease);
            queues.push(NotifierPair::new()?);
        }
        transaction.commit()?;
        let arm = |(lease, queue): (_, &NotifierPair)| {
            let notifier = Arc::clone(&queue.guest_notifier);
            Ok(IrqFd::builder(lease).notifier(notifier).assign()?)
        };
        let irqs: Result<_, Box<dyn Error>> = leases.into_iter().zip(&queues).map(arm).collect();
        Ok(Self {
            table,
            queues,
            _irqs: irqs?,
        })
    }

    /// Registers all doorbells.
    pub(crate) fn register(&self) -> Result<Vec<IoEventFd>, Box<dyn Error>> {
        let register = |bell: Bell| {
            let queue = self.queues.get(bell.queue);
            let notifier = Arc::clone(&queue.ok_or("a doorbell without a queue")?.host_notifier);
            let vm = Arc::clone(self.table.vm());
            let builder = IoEventFd::builder(vm, bell.address, bell.datamatch);
            Ok(builder.notifier(notifier).assign()?)
        };
        bells::all().into_iter().map(register).collect()
    }
}

/// Passes a write that exited to the queue of its doorbell.
pub(crate) fn ring(queues: &[NotifierPair], address: IoAddress, data: &[u8]) -> Result<(), String> {
    let bells = bells::all();
    let rung = bells.iter().find(|bell| bell.rings(address, data));
    match rung.and_then(|bell| queues.get(bell.queue)) {
        Some(queue) => queue.host_notifier.notify().map_err(|e| e.to_string()),
        None => Err(format!("the guest wrote {data:?} to {address}")),
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Wiring`]: the eventfds between the guest and its device, on the side of KVM.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use ioeventfd::{
    Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Epoch, IoAddress, Rung, Width,
};
use irq_routing::{MsiMessage, RoutingTable};
use irqfd::Vector;
use notify_core::{NotifierPair, Vm};
use tiny_guest::layout::{DOORBELL, msi_address};
use vhost_examples::guest::Device;

/// How the guest reaches the device: a notify address for each queue, as with virtio-pci.
pub(crate) const DEVICE: Device = Device {
    notify: [DOORBELL, DOORBELL + 4],
    vectors: [0x40, 0x41],
};

/// The doorbells and the interrupts of the device. Both outlive each daemon, their eventfds do not.
pub(crate) struct Wiring {
    doorbells: DoorbellSet,
    vectors: Vec<Vector>,
    /// The last change of the doorbells.
    epoch: Mutex<Option<Epoch>>,
}

impl Wiring {
    /// No doorbell yet, and interrupts that are unmasked and not exported.
    pub(crate) fn new(vm: Arc<dyn Vm>) -> Result<Self, Box<dyn Error>> {
        let table = RoutingTable::new(Arc::clone(&vm))?;
        let vector = |number| -> Result<Vector, Box<dyn Error>> {
            let vector = Vector::builder(&table).build()?;
            vector.set_message(MsiMessage::new(msi_address(0), u32::from(number)))?;
            vector.unmask()?;
            Ok(vector)
        };
        Ok(Self {
            doorbells: DoorbellSet::new(&DoorbellRegistry::new(vm, &[])),
            vectors: DEVICE
                .vectors
                .into_iter()
                .map(vector)
                .collect::<Result<_, _>>()?,
            epoch: Mutex::new(None),
        })
    }

    /// Gives every queue new eventfds. Kicks and calls that are in the old ones go to the new ones.
    ///
    /// No daemon may have the old ones: a kick that one is about to read would go to both.
    pub(crate) fn renew(&self) -> Result<Vec<NotifierPair>, Box<dyn Error>> {
        let mut queues = Vec::new();
        for vector in &self.vectors {
            let pair = NotifierPair::new()?;
            let replaced = vector.replace_notifier(Arc::clone(pair.guest_notifier()));
            replaced.map_err(|rejected| rejected.error)?;
            queues.push(pair);
        }
        let doorbells = (0..).zip(DEVICE.notify).zip(&queues);
        let doorbells = doorbells.map(|((queue, address), pair)| {
            let width = Datamatch::Width(Width::W2);
            let kick = Arc::clone(pair.host_notifier());
            Doorbell::new(queue, IoAddress::Mmio(address), width, kick)
        });
        let plan = self.doorbells.plan(doorbells)?;
        let changed = self.doorbells.apply(plan);
        let changed = changed.map_err(|rejected| rejected.error)?;
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some(changed);
        Ok(queues)
    }

    /// Takes a kick that has left the guest while its doorbell was changed. Returns whether it was
    /// one.
    ///
    /// There is one vCPU, and this is its thread: no other kick is on its way.
    pub(crate) fn kicked(&self, address: u64, data: &[u8]) -> Result<bool, ioeventfd::Error> {
        let epoch = *self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let rung = self
            .doorbells
            .on_exit_write(IoAddress::Mmio(address), data)?;
        if let Some(epoch) = epoch {
            self.doorbells.vcpus_passed(epoch);
        }
        Ok(rung == Rung::All)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The device: 64 queues, their doorbells, and the kicks that they received.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ioeventfd::virtio::{Notification, NotifyCapability, PciModern, PciQueue};
use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
use notify_core::{EventNotifier, Vm};

use crate::Order;

/// The number of queues.
pub(crate) const QUEUES: u16 = 64;
/// Where the BAR may be: the host moves it back and forth between the two.
pub(crate) const PLACES: [u64; 2] = [0xd000_0000, 0xd010_0000];
/// The offset of the doorbells in the BAR and their distance, as in QEMU.
pub(crate) const NOTIFY: NotifyCapability = NotifyCapability {
    offset: 0x3000,
    length: 0x1000,
    multiplier: 4,
};
pub(crate) const BAR_SIZE: u64 = 0x4000;

/// The queues of a device in a VM.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) doorbells: DoorbellSet,
    notifiers: Vec<Arc<EventNotifier>>,
    by_exit: AtomicU64,
}

impl Device {
    /// With the BAR at the first place.
    pub(crate) fn new(vm: Arc<dyn Vm>, order: Order) -> Result<Self, Box<dyn Error>> {
        let windows = Window::of_irqchip(&*vm)?;
        let registry = DoorbellRegistry::new(vm, windows);
        let mut doorbells = DoorbellSet::new(&registry);
        if order == Order::Removals {
            doorbells = doorbells.removals_first();
        }
        let new = |_| EventNotifier::new().map(Arc::new);
        let notifiers: Vec<_> = (0..QUEUES).map(new).collect::<Result<_, _>>()?;
        let layout = PciModern::new(NOTIFY, BAR_SIZE, Notification::Index)?;
        let enabled = (0..QUEUES).map(|queue| PciQueue::new(queue, queue));
        let bells = layout.doorbells(IoAddress::Mmio(PLACES[0]), enabled)?;
        let bells = bells.into_iter().zip(&notifiers);
        let bells = bells.map(|(bell, notifier)| bell.signalling(Arc::clone(notifier)));
        doorbells.apply(doorbells.plan(bells)?)?;
        Ok(Self {
            doorbells,
            notifiers,
            by_exit: AtomicU64::new(0),
        })
    }

    /// Handles a write that exited to user space.
    pub(crate) fn on_exit(&self, address: u64, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        match self
            .doorbells
            .on_exit_write(IoAddress::Mmio(address), bytes)?
        {
            AfterExit::Resume => {
                self.by_exit.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(format!("no doorbell takes {bytes:?} at {address:#x}").into()),
        }
    }

    /// How many kicks each queue got, by ioeventfd or by exit.
    pub(crate) fn handled(&self) -> Result<Vec<u64>, notify_core::Error> {
        let count = |one: &Arc<EventNotifier>| Ok(one.consume()?.map_or(0, u64::from));
        self.notifiers.iter().map(count).collect()
    }

    pub(crate) fn by_exit(&self) -> u64 {
        self.by_exit.load(Ordering::Relaxed)
    }
}

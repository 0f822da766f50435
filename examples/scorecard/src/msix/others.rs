// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Others`]: vectors as Cloud Hypervisor, and similarly Firecracker, implements them.
//!
//! Each vector has an irqfd. Unmasking one puts its route into a map of all routes, builds the
//! kernel's table from the map, commits it and assigns the irqfd; masking deassigns the irqfd.
//! Their other costs (locks, the map from vector to route) are not measured here.

use std::collections::HashMap;
use std::error::Error;

use kvm_bindings::{KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{ADDRESS, FIRST_GSI, machine};
use crate::measure::Step;

pub(super) struct Others {
    vm_fd: VmFd,
    routes: HashMap<u32, kvm_irq_routing_entry>,
    irqfds: Vec<EventFd>,
}

impl Others {
    /// Creates masked vectors.
    pub(super) fn new(vectors: u32) -> Result<Self, Box<dyn Error>> {
        let (vm_fd, _) = machine()?;
        let irqfds = (0..vectors).map(|_| EventFd::new(EFD_NONBLOCK));
        Ok(Self {
            vm_fd,
            routes: HashMap::new(),
            irqfds: irqfds.collect::<Result<_, _>>()?,
        })
    }

    /// Creates armed vectors.
    pub(super) fn armed(vectors: u32, data: u32) -> Result<Self, Box<dyn Error>> {
        let mut others = Self::new(vectors)?;
        (0..vectors).for_each(|index| others.route(index, data));
        others.commit()?;
        (0..vectors).try_for_each(|index| others.register(index))?;
        Ok(others)
    }

    pub(super) fn unmask(&mut self, index: u32, data: u32) -> Step {
        self.route(index, data);
        self.commit()?;
        self.register(index)
    }

    pub(super) fn mask(&self, index: u32) -> Step {
        Ok(self
            .vm_fd
            .unregister_irqfd(self.irqfd(index)?, FIRST_GSI + index)?)
    }

    fn route(&mut self, index: u32, data: u32) {
        let mut entry = kvm_irq_routing_entry {
            gsi: FIRST_GSI + index,
            type_: KVM_IRQ_ROUTING_MSI,
            ..kvm_irq_routing_entry::default()
        };
        entry.u.msi.address_lo = ADDRESS;
        entry.u.msi.data = data;
        self.routes.insert(entry.gsi, entry);
    }

    fn commit(&self) -> Step {
        let entries: Vec<_> = self.routes.values().copied().collect();
        let table = KvmIrqRouting::from_entries(&entries).map_err(|error| format!("{error:?}"))?;
        Ok(self.vm_fd.set_gsi_routing(&table)?)
    }

    fn register(&self, index: u32) -> Step {
        Ok(self
            .vm_fd
            .register_irqfd(self.irqfd(index)?, FIRST_GSI + index)?)
    }

    fn irqfd(&self, index: u32) -> Result<&EventFd, &'static str> {
        self.irqfds.get(index as usize).ok_or("no such vector")
    }
}

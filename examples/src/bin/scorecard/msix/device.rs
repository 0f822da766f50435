// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: vectors with a queue, and what a guest does with them.

use std::error::Error;
use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Vector};
use kvm_ioctls::VmFd;
use notify_core::KvmVm;

use super::{machine, message};
use crate::measure::Step;

pub(super) struct Device {
    pub(super) queue: ArmQueue,
    pub(super) vectors: Vec<Vector>,
    vm: Arc<KvmVm>,
    _vm_fd: VmFd,
}

impl Device {
    /// So many masked vectors, of which each is exported or none.
    pub(super) fn new(vectors: u32, exported: bool) -> Result<Self, Box<dyn Error>> {
        let (vm_fd, vm) = machine()?;
        let table = RoutingTable::new(vm.clone())?;
        let queue = ArmQueue::new(&table)?;
        let vector = |_| {
            let vector = Vector::builder(&table).queue(&queue).build()?;
            if exported {
                vector.export()?;
            }
            Ok(vector)
        };
        let vectors: Result<_, irqfd::Error> = (0..vectors).map(vector).collect();
        Ok(Self {
            vectors: vectors?,
            queue,
            vm,
            _vm_fd: vm_fd,
        })
    }

    /// So many vectors that are ready for signals.
    pub(super) fn armed(vectors: u32, exported: bool, data: u32) -> Result<Self, Box<dyn Error>> {
        let device = Self::new(vectors, exported)?;
        (0..vectors).try_for_each(|index| device.program(index, data))?;
        let armed = device.queue.run_pending().armed;
        match armed == device.vectors.len() || !exported {
            true => Ok(device),
            false => Err(format!("{armed} vectors were armed").into()),
        }
    }

    /// As Linux does it: address and data by three writes while the vector is masked, then unmask.
    pub(super) fn program(&self, index: u32, data: u32) -> Step {
        let vector = self.vectors.get(index as usize).ok_or("no such vector")?;
        vector.set_message(message(data))?;
        Ok(vector.unmask()?)
    }

    pub(super) fn mask(&self, index: u32) -> Step {
        let vector = self.vectors.get(index as usize).ok_or("no such vector")?;
        vector.mask();
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // The machine goes with everything in it.
        self.vm.retire();
    }
}

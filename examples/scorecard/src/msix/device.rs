// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: vectors, and what a guest writes to their table.

use std::error::Error;
use std::sync::Arc;

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, VectorState, msix};
use kvm_ioctls::VmFd;
use notify_core::{KvmVm, Vm};

use super::{ADDRESS, machine};
use crate::counting::Counting;

/// Bytes of an entry, and the offsets of its words.
const ENTRY: u64 = 16;
const UPPER_ADDRESS: u64 = 4;
const DATA: u64 = 8;
const VECTOR_CONTROL: u64 = 12;

pub(super) struct Device {
    pub(super) queue: ArmQueue,
    pub(super) table: msix::Table,
    pub(super) counting: Arc<Counting>,
    pub(super) vm: Arc<KvmVm>,
    _vm_fd: VmFd,
}

impl Device {
    /// Creates `vectors` masked vectors with a queue, all exported or all internal.
    pub(super) fn new(vectors: u32, exported: bool) -> Result<Self, Box<dyn Error>> {
        Self::build(vectors, exported, true)
    }

    fn build(vectors: u32, exported: bool, queued: bool) -> Result<Self, Box<dyn Error>> {
        let (vm_fd, vm) = machine()?;
        let counting = Arc::new(Counting::new(Arc::clone(&vm)));
        let routing = RoutingTable::new(counting.clone())?;
        let queue = ArmQueue::new(&routing)?;
        let table = msix::Table::builder(&routing).vectors(vectors as usize);
        let table = match queued {
            true => table.queue(&queue),
            false => table,
        };
        let table = table.build()?;
        for vector in table.vectors().iter().filter(|_| exported) {
            vector.export()?;
        }
        let _ = table.set_control(true, false);
        Ok(Self {
            queue,
            table,
            counting,
            vm,
            _vm_fd: vm_fd,
        })
    }

    /// Creates `vectors` armed vectors.
    pub(super) fn armed(vectors: u32, exported: bool, data: u32) -> Result<Self, Box<dyn Error>> {
        let device = Self::new(vectors, exported)?;
        (0..vectors).for_each(|index| device.program(index, data));
        let _ = device.queue.run_pending();
        device.expect_ready()?;
        Ok(device)
    }

    /// Creates `vectors` exported vectors without a queue, armed with one commit.
    pub(super) fn armed_at_once(vectors: u32, data: u32) -> Result<Self, Box<dyn Error>> {
        let device = Self::build(vectors, true, false)?;
        let _ = device.table.set_control(true, true);
        (0..vectors).for_each(|index| device.program(index, data));
        let _ = device.table.set_control(true, false);
        device.expect_ready()?;
        Ok(device)
    }

    /// Whether every vector is ready for signals.
    pub(super) fn expect_ready(&self) -> Result<(), String> {
        let not_ready = |vector: &&irqfd::VectorHandle| {
            !matches!(vector.state(), VectorState::Armed | VectorState::Open)
        };
        match self.table.vectors().iter().find(not_ready) {
            None => Ok(()),
            Some(vector) => Err(format!("a vector is {:?}", vector.state())),
        }
    }

    /// As Linux does: address and data by three writes while the vector is masked, then unmask.
    pub(super) fn program(&self, index: u32, data: u32) {
        self.write(index, 0, ADDRESS);
        self.write(index, UPPER_ADDRESS, 0);
        self.write(index, DATA, data);
        self.write(index, VECTOR_CONTROL, 0);
    }

    /// Gives the vector other data, whether or not it is masked.
    pub(super) fn retarget(&self, index: u32, data: u32) {
        self.write(index, DATA, data);
    }

    pub(super) fn mask(&self, index: u32) {
        self.write(index, VECTOR_CONTROL, 1);
    }

    fn write(&self, index: u32, offset: u64, word: u32) {
        let offset = u64::from(index) * ENTRY + offset;
        let _ = self.table.write(offset, &word.to_le_bytes());
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // The VM is closed with everything in it.
        self.vm.retire();
    }
}

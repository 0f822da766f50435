// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: `/dev/vhost-vsock`.

use std::error::Error;
use std::fmt;

use crate::ring::SIZE;
use crate::rings::Rings;
use crate::session::Session;
use crate::vmm;
use notify_core::NotifierPair;
use vhost::vhost_kern::vsock::Vsock;
use vhost::vsock::VhostVsock;
use vhost::{VhostBackend, VhostUserMemoryRegionInfo};
use vm_memory::{GuestMemoryAtomic, GuestMemoryBackend, GuestMemoryMmap};

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// VIRTIO_F_VERSION_1.
const VERSION_1: u64 = 1 << 32;

/// A device in the kernel.
pub struct Device {
    /// The RAM of the current VM.
    memory: Memory,
    /// The back-end, while the rings are stopped.
    idle: Option<Vsock<Memory>>,
    rings: Rings<Vsock<Memory>>,
    ring_errors: u64,
}

impl Device {
    /// A stopped device with this context identifier.
    ///
    /// # Errors
    ///
    /// If there is no `/dev/vhost-vsock`, or the identifier is taken.
    pub fn new(cid: u64) -> Result<Self, Box<dyn Error>> {
        let memory = Memory::new(GuestMemoryMmap::new());
        let vsock = Vsock::new(memory.clone());
        let vsock = vsock.map_err(|error| format!("it needs /dev/vhost-vsock: {error}"))?;
        vsock.set_owner()?;
        let offered = vsock.get_features()?;
        if offered & VERSION_1 == 0 {
            return Err(format!("the device offers the features {offered:#x}").into());
        }
        vsock.set_features(VERSION_1)?;
        vsock.set_guest_cid(cid)?;
        Ok(Self {
            memory,
            idle: Some(vsock),
            rings: Rings::new(),
            ring_errors: 0,
        })
    }

    /// How many rings the kernel has found malformed.
    #[must_use]
    pub fn ring_errors(&self) -> u64 {
        self.ring_errors
    }

    /// Sets the memory and all parts of the rings except their eventfds.
    fn describe(&self, vsock: &Vsock<Memory>, session: &Session) -> Result<(), Box<dyn Error>> {
        let memory = session.memory();
        let locked = self.memory.lock();
        let guard = locked.map_err(|_| "a thread panicked while it replaced the memory")?;
        guard.replace(memory.clone());
        let regions = memory
            .iter()
            .map(VhostUserMemoryRegionInfo::from_guest_region);
        vsock.set_mem_table(&regions.collect::<Result<Vec<_>, _>>()?)?;
        for (queue, ring) in session.guest().rings().iter().enumerate() {
            vsock.set_vring_num(queue, SIZE)?;
            vsock.set_vring_addr(queue, &ring.config())?;
            vsock.set_vring_base(queue, ring.used_index(memory)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut output = f.debug_struct("Device");
        output
            .field("runs", &self.idle.is_none())
            .finish_non_exhaustive()
    }
}

impl vmm::Device for Device {
    fn start(&mut self, session: &Session, pairs: Vec<NotifierPair>) -> Result<(), Box<dyn Error>> {
        let vsock = self.idle.take().ok_or("the device runs")?;
        self.describe(&vsock, session)?;
        self.rings.start(vsock, pairs)
    }

    fn stop(&mut self, session: &Session) -> Result<(), Box<dyn Error>> {
        self.ring_errors += self.rings.failed()? as u64;
        let stopped = self.rings.stop(session)?;
        self.idle = stopped.or(self.idle.take());
        Ok(())
    }

    fn set_pair(&mut self, queue: usize, pair: NotifierPair) -> Result<(), Box<dyn Error>> {
        self.rings.set_pair(queue, pair)
    }
}

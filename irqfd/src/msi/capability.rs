// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Capability`]: the vectors of a device, and how the guest masks them.

use std::fmt;
use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};

use super::registers::{MAX, Registers, Shape};
use crate::queue::{ArmQueue, Shared};
use crate::sync::Mutex;
use crate::vector::Device;
use crate::{Dead, Error, Vector, numbered};

/// The MSI capability of a device (PCI Local Bus 3.0, 6.8.1). Clones share it.
///
/// The VMM passes on what the guest reads and writes of it, at offsets from its start in the
/// configuration space; devices trigger the vectors ([`vector`](Self::vector)), or hand their
/// notifiers out. A vector is open if MSI is enabled, the guest has granted that many vectors, and
/// the vector's mask bit (if there are such) is clear. Otherwise triggers are kept, one for each
/// vector.
///
/// A guest that grants more vectors than the device is capable of reads back what it is capable of.
/// The vectors beyond those that are granted lose what they have pending when the number changes; a
/// device should not trigger them ([`granted`](Self::granted)).
///
/// # Messages are taken whole
///
/// Address and data are several registers, and without mask bits a driver must write them while
/// interrupts come. What was written to the address counts from when the data is written, which
/// drivers do last; or when the guest opens a vector or grants another number of them. So a driver
/// that writes address and data in turn never has a vector send old data to a new address.
///
/// # Any access is answered
///
/// Accesses of any length and at any offset read and write just those bytes. What is read-only
/// stays as it is. Nothing that the guest does fails: a vector that cannot be opened is
/// [`dead`](Self::dead), and nobody else is disturbed. Accesses to internal vectors allocate
/// nothing.
///
/// # Threads
///
/// As for [`msix::Table`](crate::msix::Table).
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::msi;
/// # use notify_core::sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # vm.enable_lapic(0);
/// # let routing = RoutingTable::new(vm.clone())?;
/// let msi = msi::Capability::builder(&routing).vectors(4).build()?;
/// msi.write(0x4, &0xfee0_0000_u64.to_le_bytes());
/// msi.write(0xc, &0x40_u16.to_le_bytes());
/// msi.write(0x2, &0x21_u16.to_le_bytes()); // four vectors, enabled
///
/// if let Some(vector) = msi.vector(3) {
///     vector.trigger()?;
/// }
/// assert_eq!(vm.pending_vectors(0), [0x43]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Capability {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) shape: Shape,
    pub(super) vectors: Box<[Vector]>,
    pub(super) devid: Option<u32>,
    pub(super) queue: Option<Arc<Shared>>,
    /// It knows whether MSI is enabled, which is written under the lock and read without.
    device: Arc<Device>,
    /// Triggers do not take it.
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) registers: Registers,
    /// The message that was taken last, of which vectors make theirs.
    pub(super) sends: MsiMessage,
}

/// Builds a [`Capability`].
#[derive(Debug)]
#[must_use]
pub struct CapabilityBuilder<'a> {
    routing: &'a RoutingTable,
    vectors: usize,
    wide: bool,
    maskable: bool,
    next: u8,
    queue: Option<&'a ArmQueue>,
    devid: Option<u32>,
    name: Option<Arc<str>>,
}

impl<'a> CapabilityBuilder<'a> {
    /// The device's name, for the leases of its vectors, and for what is said of those that are
    /// dead (default: none).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many vectors the device is capable of: 1, 2, 4, 8, 16 or 32 (default: 1).
    pub fn vectors(mut self, vectors: usize) -> Self {
        self.vectors = vectors;
        self
    }

    /// Whether addresses have 64 bits (the default) or 32.
    pub fn wide(mut self, wide: bool) -> Self {
        self.wide = wide;
        self
    }

    /// Whether each vector has a mask bit and a pending bit (the default).
    pub fn maskable(mut self, maskable: bool) -> Self {
        self.maskable = maskable;
        self
    }

    /// Where the next capability is in the configuration space (default: 0, there is none).
    pub fn next(mut self, next: u8) -> Self {
        self.next = next;
        self
    }

    /// Leaves it to this queue's owner to arm vectors that are exported (default: the access that
    /// opens them commits their routes).
    pub fn queue(mut self, queue: &'a ArmQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Says who sends the messages, where the interrupt controller asks (arm64 with an ITS).
    pub fn devid(mut self, devid: u32) -> Self {
        self.devid = Some(devid);
        self
    }

    /// A capability as it is after a reset: disabled, and no mask bit set. No ioctl.
    ///
    /// # Errors
    ///
    /// [`Error::MsiVectors`], and those of [`VectorBuilder::build`](crate::VectorBuilder::build).
    pub fn build(self) -> Result<Capability, Error> {
        let count = self.vectors;
        let capable = count.is_power_of_two().then(|| count.trailing_zeros());
        let capable = capable.filter(|_| count <= MAX).map(u16::try_from);
        let Some(Ok(capable)) = capable else {
            return Err(Error::MsiVectors { vectors: count });
        };
        let device = Arc::new(Device::new(self.name, false));
        let vectors = numbered::build(self.routing, self.queue, &device, count)?;
        Ok(Capability {
            inner: Arc::new(Inner {
                shape: Shape {
                    capable,
                    wide: self.wide,
                    maskable: self.maskable,
                    next: self.next,
                },
                vectors,
                devid: self.devid,
                queue: self.queue.map(ArmQueue::shared),
                device,
                state: Mutex::default(),
            }),
        })
    }
}

impl Capability {
    /// A capability whose messages go through this routing table.
    pub fn builder(routing: &RoutingTable) -> CapabilityBuilder<'_> {
        CapabilityBuilder {
            routing,
            vectors: 1,
            wide: true,
            maskable: true,
            next: 0,
            queue: None,
            devid: None,
            name: None,
        }
    }

    /// A vector, to trigger or to export it. To mask it and to set its message is the capability's
    /// part.
    #[must_use]
    pub fn vector(&self, number: u16) -> Option<&Vector> {
        self.inner.vectors.get(usize::from(number))
    }

    /// All vectors that the device is capable of, in order.
    #[must_use]
    pub fn vectors(&self) -> &[Vector] {
        &self.inner.vectors
    }

    /// How many vectors the guest has granted to the device (Multiple Message Enable).
    #[must_use]
    pub fn granted(&self) -> u16 {
        1 << self.inner.state.lock().registers.granted
    }

    /// Whether the guest has enabled MSI. If not, the device is to use its INTx pin. No lock: it
    /// never waits for an access of the guest.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.inner.device.is_enabled()
    }

    /// What a reset of the device does: disabled, no message, no mask bit set, nothing pending.
    /// Vectors that are exported stay so.
    pub fn reset(&self) {
        let mut state = self.inner.state.lock();
        self.inner.put_registers(&mut state, Registers::default());
        state.sends = MsiMessage::default();
        self.inner.vectors.iter().for_each(Vector::reset);
    }

    /// The vectors that are open and lead nowhere.
    #[must_use]
    pub fn dead(&self) -> Vec<Dead> {
        numbered::dead(&self.inner.vectors)
    }
}

impl Inner {
    /// Changes the registers, under the lock.
    pub(super) fn put_registers(&self, state: &mut State, registers: Registers) {
        state.registers = registers;
        self.device.set_enabled(registers.enabled);
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Capability");
        debug.field("shape", &self.inner.shape);
        debug.field("devid", &self.inner.devid);
        debug.field("registers", &self.inner.state.lock().registers);
        debug.finish_non_exhaustive()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Capability`]: the vectors of a device, and how the guest masks them.

use std::fmt;
use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};

use super::registers::{MAX, Shape, Written};
use crate::sync::Mutex;
use crate::vector::Device;
use crate::{ArmQueue, VectorError, VectorHandle, numbered};

/// The MSI capability of a device (PCI Local Bus 3.0, 6.8.1). Clones share it.
///
/// The VMM passes the guest's accesses on, at offsets from the start of the capability in the
/// configuration space. Devices trigger the vectors ([`vector`](Self::vector)), or hand their
/// notifiers out. A vector is open if MSI is enabled, the guest has granted that many vectors, and
/// the vector's mask bit, if there is one, is clear. Otherwise triggers are kept, one for each
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
/// # Extended Message Data
///
/// A device may be capable of it ([`extended_data`](CapabilityBuilder::extended_data)). While the
/// guest has it enabled, Extended Message Data is the upper half of the data of messages; otherwise
/// the upper half is zero. The number of a vector replaces low bits in both cases.
///
/// While it is enabled, an access that writes any of the four bytes of the data completes the
/// message. A driver that writes both halves in one access of four bytes has its message taken
/// whole. If it writes one half after the other, an open vector has the new half beside the old one
/// in between. It does not wait for the other half: a driver that changes one half only would never
/// be served. A driver that needs two accesses masks the vector, or disables MSI, meanwhile.
///
/// While it is disabled, writing it completes no message. Enabling or disabling it does.
///
/// # Every access is accepted
///
/// Accesses of any length and at any offset read and write just those bytes. What is read-only
/// stays as it is. No access fails: a vector that cannot be opened is
/// [`Dead`](crate::VectorState::Dead), and no other device is disturbed. Accesses to internal
/// vectors allocate nothing.
///
/// # Threads
///
/// As for [`msix::Table`](crate::msix::Table).
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::msi;
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// vm.enable_lapic(0); // as a guest does when it boots
/// let routing = RoutingTable::new(vm.clone())?; // one for the VM
/// let msi = msi::Capability::builder(&routing).vectors(4).build()?;
/// let _dead = msi.write(0x4, &0xfee0_0000_u64.to_le_bytes());
/// let _dead = msi.write(0xc, &0x40_u16.to_le_bytes());
/// let _dead = msi.write(0x2, &0x21_u16.to_le_bytes()); // four vectors, enabled
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
    pub(super) vectors: Box<[VectorHandle]>,
    /// It knows whether MSI is enabled, which is written under the lock and read without.
    device: Arc<Device>,
    /// Triggers do not take it.
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) registers: Written,
    /// The message that was taken last, of which vectors make theirs.
    pub(super) sends: MsiMessage,
    pub(super) devid: Option<u32>,
    pub(super) paused: bool,
}

/// Builds a [`Capability`].
#[derive(Debug)]
#[must_use]
pub struct CapabilityBuilder<'a> {
    routing: &'a RoutingTable,
    vectors: usize,
    wide: bool,
    maskable: bool,
    extended: bool,
    next: u8,
    queue: Option<&'a ArmQueue>,
    private: bool,
    devid: Option<u32>,
    name: Option<Arc<str>>,
}

impl<'a> CapabilityBuilder<'a> {
    /// Sets the name of the device, which leases, [`Dead`](crate::Dead) vectors and observers get
    /// (default: none).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets how many vectors the device is capable of: 1, 2, 4, 8, 16 or 32 (default: 1).
    pub fn vectors(mut self, vectors: usize) -> Self {
        self.vectors = vectors;
        self
    }

    /// Sets whether addresses have 64 bits (the default) or 32.
    pub fn wide(mut self, wide: bool) -> Self {
        self.wide = wide;
        self
    }

    /// Sets whether each vector has a mask bit and a pending bit (default: `true`).
    pub fn maskable(mut self, maskable: bool) -> Self {
        self.maskable = maskable;
        self
    }

    /// Sets whether the device is capable of Extended Message Data (default: `false`).
    ///
    /// If so, the guest may enable it, and the data of messages has 32 bits instead of 16 (PCI
    /// Express Base 5.0, 7.7.1.2 and 7.7.1.6).
    pub fn extended_data(mut self, extended: bool) -> Self {
        self.extended = extended;
        self
    }

    /// Sets where the next capability is in the configuration space (default: 0, there is none).
    pub fn next(mut self, next: u8) -> Self {
        self.next = next;
        self
    }

    /// Sets the queue whose owner arms vectors that are private or exported (default: none; the
    /// access that opens them commits their routes).
    pub fn queue(mut self, queue: &'a ArmQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Sets whether the vectors are *private*, with irqfds of their own instead of KVM_SIGNAL_MSI.
    ///
    /// See [`VectorBuilder::private_irqfd`](crate::VectorBuilder::private_irqfd). The default is
    /// `false`, unless the kernel lacks KVM_SIGNAL_MSI.
    pub fn private_irqfd(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Sets the device id of the messages, where the interrupt controller needs one (arm64 with an
    /// ITS). It can be changed later: [`Capability::set_devid`].
    pub fn devid(mut self, devid: u32) -> Self {
        self.devid = Some(devid);
        self
    }

    /// Builds the capability as it is after a reset: disabled, and no mask bit set.
    ///
    /// Issues no ioctl but KVM_CHECK_EXTENSION, once for a VM. Private vectors take an eventfd
    /// each.
    ///
    /// # Errors
    ///
    /// [`VectorError::CapabilitySize`], and those of
    /// [`VectorBuilder::build`](crate::VectorBuilder::build).
    pub fn build(self) -> Result<Capability, VectorError> {
        let count = self.vectors;
        let capable = count.is_power_of_two().then(|| count.trailing_zeros());
        let capable = capable.filter(|_| count <= MAX).map(u16::try_from);
        let Some(Ok(capable)) = capable else {
            return Err(VectorError::CapabilitySize { vectors: count });
        };
        let device = Arc::new(Device::new(self.name, false));
        let vectors = numbered::build(self.routing, self.queue, self.private, &device, count)?;
        Ok(Capability {
            inner: Arc::new(Inner {
                shape: Shape {
                    capable,
                    wide: self.wide,
                    maskable: self.maskable,
                    extended: self.extended,
                    next: self.next,
                },
                vectors,
                device,
                state: Mutex::new(State {
                    devid: self.devid,
                    ..State::default()
                }),
            }),
        })
    }
}

impl Capability {
    /// Starts a capability whose messages go through this routing table.
    pub fn builder(routing: &RoutingTable) -> CapabilityBuilder<'_> {
        CapabilityBuilder {
            routing,
            vectors: 1,
            wide: true,
            maskable: true,
            extended: false,
            next: 0,
            queue: None,
            private: false,
            devid: None,
            name: None,
        }
    }

    /// Returns the handle of a vector, for device code. The number may come from the guest.
    #[must_use]
    pub fn vector(&self, number: u16) -> Option<&VectorHandle> {
        self.inner.vectors.get(usize::from(number))
    }

    /// Returns the handles of all vectors that the device is capable of, in order.
    #[must_use]
    pub fn vectors(&self) -> &[VectorHandle] {
        &self.inner.vectors
    }

    /// Returns how many vectors the guest has granted to the device (Multiple Message Enable).
    #[must_use]
    pub fn granted(&self) -> u16 {
        1 << self.inner.state.lock().registers.granted
    }

    /// Returns whether the guest has enabled MSI. If not, the device has to use its INTx pin.
    ///
    /// Waits for no lock, so never for an access of the guest.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.inner.device.is_enabled()
    }

    /// Resets the capability, because the PCI function or its bus is reset.
    ///
    /// MSI is disabled; there is no message, no mask bit is set and nothing is pending. Exported
    /// vectors stay exported, and a paused capability stays paused. Not for the reset of a virtio
    /// device by its status register, which leaves MSI alone.
    pub fn reset(&self) {
        let mut state = self.inner.state.lock();
        self.inner.put_registers(&mut state, Written::default());
        state.sends = MsiMessage::default();
        self.inner
            .vectors
            .iter()
            .for_each(|vector| vector.inner.reset());
    }
}

impl Inner {
    /// Changes the registers, under the lock.
    pub(super) fn put_registers(&self, state: &mut State, registers: Written) {
        state.registers = registers;
        self.device.set_enabled(registers.enabled);
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Capability");
        debug.field("shape", &self.inner.shape);
        debug.field("registers", &self.inner.state.lock().registers);
        debug.finish_non_exhaustive()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Table`]: the vectors of a device, and how the guest masks them.

use std::fmt;
use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};

use super::entry::Entry;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::vector::{Device, Opened};
use crate::{ArmQueue, VectorError, VectorHandle, numbered};

/// How many entries a table can have.
pub(super) const MAX: usize = 2048;

/// The MSI-X table of a device. Clones share it.
///
/// The guest programs the messages of its vectors here, and masks them. The VMM passes its accesses
/// on: [`read`](Self::read) and [`write`](Self::write) for the region of the table,
/// [`pba_read`](Self::pba_read) for the pending bits, [`config_write`](Self::config_write) or
/// [`set_control`](Self::set_control) for the capability. Devices trigger the vectors
/// ([`vector`](Self::vector)), or hand their notifiers out.
///
/// A vector is open if the function is enabled and not masked as a whole, and the vector's own mask
/// bit is clear. Otherwise triggers are kept, one for each vector, and shown as pending bits.
///
/// # Messages
///
/// Reads return what the guest wrote to an entry's address and data. A vector takes the whole
/// message when it is opened: by its own mask bit, by that of the function, or by enabling. A write
/// of eight bytes that holds both the data and a clear mask bit opens the vector with the new data.
///
/// A guest should mask a vector before it writes a new message (PCI Local Bus 3.0, 6.8.2: otherwise
/// the result is undefined). If it does not, as Linux before 5.14, the vector takes each access at
/// once. Between two accesses of such a guest it sends a message that is half old, as devices do.
///
/// # Every access is accepted
///
/// The specification defines aligned accesses of four and eight bytes. Others of one, two, four or
/// eight bytes read and write just those bytes, at any offset, across entries too. Accesses of any
/// other length write nothing and read as ones, as does what is beyond the end. Bits 0 and 1 of an
/// address and the reserved bits of Vector Control read as zero.
///
/// No access fails. A vector that cannot be opened is [`Dead`](crate::VectorState::Dead) until it
/// is masked and unmasked again, and no other is disturbed. Accesses to internal vectors allocate
/// nothing; memory for exported ones is bounded by their number.
///
/// # Threads and locks
///
/// Any thread may call anything at any time. A lock, which triggers do not take, orders the
/// accesses. An access that masks waits for no commit. Vectors that an access opens are armed by
/// the owner of the [`ArmQueue`]; without a queue the access commits them before it returns,
/// without the lock, with one commit for all.
///
/// # Drop
///
/// Dropping the last clone drops the vectors. That blocks for one KVM_IRQFD for each armed vector,
/// some 40 microseconds.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::{Triggered, msix};
/// # use notify_sim::SimVm;
/// let vm = Arc::new(SimVm::builder().build()); // or a KvmVm
/// vm.enable_lapic(0); // as a guest does when it boots
/// let routing = RoutingTable::new(vm.clone())?; // one for the VM
/// let table = msix::Table::builder(&routing).vectors(3).build()?;
/// let _dead = table.set_control(true, false);
///
/// // The guest programs entry 1, word by word, and clears its mask bit.
/// for (offset, word) in [(0x10, 0xfee0_0000_u32), (0x14, 0), (0x18, 0x41), (0x1c, 0)] {
///     let _dead = table.write(offset, &word.to_le_bytes());
/// }
/// if let Some(vector) = table.vector(1) {
///     assert_eq!(vector.trigger()?, Triggered::Delivered);
/// }
/// assert_eq!(vm.pending_vectors(0), [0x41]);
///
/// // Entry 2 is masked still: its pending bit shows what came.
/// if let Some(vector) = table.vector(2) {
///     assert_eq!(vector.trigger()?, Triggered::Kept);
/// }
/// let mut pending = [0; 8];
/// table.pba_read(0, &mut pending);
/// assert_eq!(u64::from_le_bytes(pending), 1 << 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Table {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) vectors: Box<[VectorHandle]>,
    /// By vector: how many bindings use it. Held while one leaves, before the vector's lock.
    pub(super) users: Box<[Mutex<usize>]>,
    /// It knows whether MSI-X is enabled, which is written under the lock and read without.
    pub(super) device: Arc<Device>,
    /// The same.
    function_masked: AtomicBool,
    /// Triggers do not take it, nor do questions for what is enabled.
    pub(super) state: Mutex<State>,
}

/// What the guest has written, and what the VMM has set.
#[derive(Debug)]
pub(super) struct State {
    /// As many as there are vectors.
    pub(super) entries: Box<[Entry]>,
    pub(super) devid: Option<u32>,
    pub(super) paused: bool,
}

impl State {
    pub(super) fn message(&self, entry: Entry) -> MsiMessage {
        entry.message(self.devid)
    }
}

/// Builds a [`Table`].
#[derive(Debug)]
#[must_use]
pub struct TableBuilder<'a> {
    routing: &'a RoutingTable,
    vectors: usize,
    queue: Option<&'a ArmQueue>,
    private: bool,
    devid: Option<u32>,
    name: Option<Arc<str>>,
}

impl<'a> TableBuilder<'a> {
    /// Sets the name of the device, which leases, [`Dead`](crate::Dead) vectors and observers get
    /// (default: none).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the number of entries, 1 to 2048 (default: 1).
    pub fn vectors(mut self, vectors: usize) -> Self {
        self.vectors = vectors;
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
    /// ITS). It can be changed later: [`Table::set_devid`].
    pub fn devid(mut self, devid: u32) -> Self {
        self.devid = Some(devid);
        self
    }

    /// Builds the table as it is after a reset: disabled, and every entry masked.
    ///
    /// Issues no ioctl but KVM_CHECK_EXTENSION, once for a VM. Private vectors take an eventfd
    /// each.
    ///
    /// # Errors
    ///
    /// [`VectorError::TableSize`], and those of
    /// [`VectorBuilder::build`](crate::VectorBuilder::build).
    pub fn build(self) -> Result<Table, VectorError> {
        let count = self.vectors;
        if !(1..=MAX).contains(&count) {
            return Err(VectorError::TableSize { vectors: count });
        }
        let device = Arc::new(Device::new(self.name, false));
        let vectors = numbered::build(self.routing, self.queue, self.private, &device, count)?;
        Ok(Table {
            inner: Arc::new(Inner {
                vectors,
                users: std::iter::repeat_with(Mutex::default).take(count).collect(),
                device,
                function_masked: AtomicBool::new(false),
                state: Mutex::new(State {
                    entries: vec![Entry::default(); count].into(),
                    devid: self.devid,
                    paused: false,
                }),
            }),
        })
    }
}

impl Table {
    /// Starts a table whose messages go through this routing table.
    pub fn builder(routing: &RoutingTable) -> TableBuilder<'_> {
        TableBuilder {
            routing,
            vectors: 1,
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

    /// Returns the handles of all vectors, in order.
    #[must_use]
    pub fn vectors(&self) -> &[VectorHandle] {
        &self.inner.vectors
    }

    /// Resets the table, because the PCI function or its bus is reset.
    ///
    /// MSI-X is disabled, every entry is masked and empty, nothing is pending. Exported vectors
    /// stay exported, and a paused table stays paused.
    ///
    /// Not for the reset of a virtio device by its status register, which leaves MSI-X alone
    /// (VIRTIO 1.3, 4.1.5.1.2): call [`Binding::bind`](super::Binding::bind) of each queue with
    /// [`NO_VECTOR`](super::NO_VECTOR) instead. Drivers rely on that: FreeBSD's enables MSI-X first
    /// and resets the device after.
    pub fn reset(&self) {
        let mut state = self.inner.state.lock();
        self.inner.put_control(false, false);
        state.entries.fill(Entry::default());
        self.inner.reset_vectors();
    }
}

impl Inner {
    /// Whether those vectors are open whose own mask bits are clear. To be asked under the lock.
    pub(super) fn is_open(&self) -> bool {
        self.device.is_enabled() && !self.is_function_masked()
    }

    pub(super) fn is_function_masked(&self) -> bool {
        self.function_masked.load(Ordering::Acquire)
    }

    /// Changes the two, under the lock.
    pub(super) fn put_control(&self, enabled: bool, function_masked: bool) {
        self.device.set_enabled(enabled);
        self.function_masked
            .store(function_masked, Ordering::Release);
    }

    /// Opens or closes a vector, if it is to be other than it was.
    pub(super) fn open_or_close<'a>(
        &self,
        vector: &'a VectorHandle,
        message: MsiMessage,
        was_open: bool,
        is_open: bool,
        opened: &mut Opened<'a>,
    ) {
        match (was_open, is_open) {
            (true, false) => vector.inner.mask(),
            (false, true) => opened.unmask(vector, message),
            (true, true) => opened.retarget(vector, message),
            (false, false) => {}
        }
    }

    pub(super) fn reset_vectors(&self) {
        self.vectors.iter().for_each(|vector| vector.inner.reset());
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("vectors", &self.inner.vectors.len())
            .field("enabled", &self.is_enabled())
            .field("function_masked", &self.inner.is_function_masked())
            .finish_non_exhaustive()
    }
}

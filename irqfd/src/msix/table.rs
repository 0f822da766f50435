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
/// The guest writes here where its interrupts go, and masks them. The VMM passes on what the guest
/// does: [`read`](Self::read) and [`write`](Self::write) for the region of the table,
/// [`pba_read`](Self::pba_read) for the pending bits, [`config_write`](Self::config_write) or
/// [`set_control`](Self::set_control) for the capability. Devices trigger the vectors
/// ([`vector`](Self::vector)), or hand their notifiers out.
///
/// A vector is open if the function is enabled and not masked as a whole, and the vector's own mask
/// bit is clear. Otherwise triggers are kept, one for each vector, and shown as pending bits.
///
/// # Messages
///
/// What the guest writes to an entry's address and data is what later reads return. A vector takes
/// it, whole, when it is opened, be it by its own mask bit, by the function's or by enabling. A
/// write of eight bytes that holds both the data and a clear mask bit opens the vector with the new
/// data.
///
/// A guest should mask a vector before it writes a new message (6.8.2: otherwise the result is
/// undefined). If it does not, as Linux before 5.14, the vector takes what each access has written
/// at once. Between the accesses of such a guest it sends what is half old and half new, as devices
/// do.
///
/// # Any access is answered
///
/// The specification knows aligned accesses of four and eight bytes. Others of one, two, four or
/// eight bytes read and write just those bytes, at any offset, across entries too. Accesses of any
/// other length write nothing. What is beyond the end, and all of an access of another length,
/// reads as ones. Bits 0 and 1 of an address and the reserved bits of Vector Control read as zero.
///
/// Nothing that the guest does fails: a vector that cannot be opened is
/// [`Dead`](crate::VectorState::Dead) until it is masked and unmasked again, and no other is
/// disturbed. Accesses to internal vectors allocate nothing; what exported ones take is bounded by
/// their number.
///
/// # Threads
///
/// Any thread may call anything at any time. Accesses are ordered by a lock that triggers do not
/// take. What an access opens is committed without that lock: by the owner of the [`ArmQueue`], or
/// else before the access returns, with one commit however many vectors it opens. An access that
/// masks has masked when it returns, and waits for no commit.
///
/// Dropping the last clone drops the vectors. That blocks for one KVM_IRQFD for each vector that is
/// armed, some 40 microseconds.
///
/// ```
/// # use std::sync::Arc;
/// # use irq_routing::RoutingTable;
/// # use irqfd::{Triggered, msix};
/// # use notify_sim::SimVm;
/// # let vm = Arc::new(SimVm::builder().build());
/// # vm.enable_lapic(0);
/// # let routing = RoutingTable::new(vm.clone())?;
/// let table = msix::Table::builder(&routing).vectors(3).build()?;
/// table.set_control(true, false);
///
/// // The guest programs entry 1, word by word, and clears its mask bit.
/// for (offset, word) in [(0x10, 0xfee0_0000_u32), (0x14, 0), (0x18, 0x41), (0x1c, 0)] {
///     table.write(offset, &word.to_le_bytes());
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
    /// The device's name, for the leases of its vectors, and for what is said of those that are
    /// dead (default: none).
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many entries it has (default: 1; at most 2048).
    pub fn vectors(mut self, vectors: usize) -> Self {
        self.vectors = vectors;
        self
    }

    /// Leaves it to this queue's owner to arm vectors that are private or exported (default: the
    /// access that opens them commits their routes).
    pub fn queue(mut self, queue: &'a ArmQueue) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Whether its vectors are *private*, with irqfds of their own instead of KVM_SIGNAL_MSI; see
    /// [`VectorBuilder::private_irqfd`](crate::VectorBuilder::private_irqfd) (default: only where
    /// the kernel does not have that).
    pub fn private_irqfd(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// The device id of its messages, where the interrupt controller asks for one (arm64 with an
    /// ITS). It can be changed later, see [`Table::set_devid`].
    pub fn devid(mut self, devid: u32) -> Self {
        self.devid = Some(devid);
        self
    }

    /// A table as it is after a reset: disabled, and every entry masked. No ioctl, but for
    /// KVM_CHECK_EXTENSION, once for a VM; private vectors take an eventfd each.
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
    /// A table whose messages go through this routing table.
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

    /// The handle of a vector, for device code, by a number that may come from the guest.
    #[must_use]
    pub fn vector(&self, number: u16) -> Option<&VectorHandle> {
        self.inner.vectors.get(usize::from(number))
    }

    /// The handles of all vectors, in order.
    #[must_use]
    pub fn vectors(&self) -> &[VectorHandle] {
        &self.inner.vectors
    }

    /// A reset of the PCI function (a function-level reset, or a reset of its bus): disabled, every
    /// entry masked and empty, nothing pending. Vectors that are exported stay so, and a table that
    /// is paused stays paused.
    ///
    /// Not for the reset of a virtio device by its status register, which leaves MSI-X alone: call
    /// [`Binding::bind`](super::Binding::bind) of each queue with [`NO_VECTOR`](super::NO_VECTOR)
    /// instead. Drivers rely on that; FreeBSD's enables MSI-X first and resets the device after.
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

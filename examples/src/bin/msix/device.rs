// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: its vectors, and the registers by which the guest programs them.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Dead, Triggered, VectorHandle, VectorState, msix};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify_core::{EventNotifier, Vm};

use crate::layout::{
    CONTROL, DATA, ENABLE, END, ENTRY, FUNCTION_MASK, PENDING, TABLE, VCPUS, VECTOR_CONTROL,
    VECTORS, is_exported,
};
use crate::watch::Watch;

pub(crate) struct Device {
    pub(crate) watch: Arc<Watch>,
    table: msix::Table,
    queue: ArmQueue,
    /// By vector: whether the guest has masked it.
    masked: Vec<AtomicBool>,
    /// Whether the guest has masked or disabled the function.
    function_closed: AtomicBool,
    /// By vCPU: how many accesses it has made.
    accesses: Vec<AtomicU64>,
}

impl Device {
    /// A device after a reset, with some of its vectors exported.
    pub(crate) fn new(vm: Arc<dyn Vm>) -> Result<Self, Box<dyn Error>> {
        let watch = Arc::new(Watch::new(vm));
        let routing = RoutingTable::new(watch.clone())?;
        let queue = ArmQueue::new(&routing)?;
        let table = msix::Table::builder(&routing)
            .vectors(VECTORS.into())
            .queue(&queue)
            .build()?;
        let mut notifiers = Vec::new();
        for (number, vector) in (0..).zip(table.vectors()) {
            if is_exported(number) {
                notifiers.push((vector.export()?.as_raw_fd(), number));
            }
        }
        watch.know(notifiers);
        Ok(Self {
            watch,
            table,
            queue,
            masked: (0..VECTORS).map(|_| AtomicBool::new(true)).collect(),
            function_closed: AtomicBool::new(true),
            accesses: (0..VCPUS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// The guest writes to the device's region. The watch is notified before a vector opens, and
    /// after it has closed.
    pub(crate) fn write(&self, vcpu: u8, offset: u64, data: &[u8]) {
        self.count_access(vcpu);
        match offset {
            PENDING.. if offset < CONTROL => {}
            CONTROL.. => self.write_control(data),
            _ => self.write_table(offset - TABLE, data),
        }
    }

    fn write_table(&self, offset: u64, data: &[u8]) {
        let control = VECTOR_CONTROL.checked_sub(offset % ENTRY);
        let control = control.and_then(|index| data.get(usize::try_from(index).ok()?));
        let vector = u16::try_from(offset / ENTRY).ok();
        let own = vector.and_then(|vector| self.masked.get(usize::from(vector)));
        // The vector whose mask this write changes, and its new mask.
        let mut change = None;
        if let (Some(control), Some(vector), Some(own)) = (control, vector, own) {
            let mask = control & 1 == 1;
            if own.swap(mask, Ordering::SeqCst) != mask {
                change = Some((vector, mask));
            }
        }
        if let Some((vector, false)) = change {
            let message_data = self.message_data(vector, offset, data);
            self.watch.sends(vector, message_data);
            self.watch.opens(vector);
        }
        report(&self.table.write(offset, data));
        if let Some((vector, true)) = change {
            self.watch.closed(vector);
        }
    }

    /// The vector's data after this write, which may change part of it.
    fn message_data(&self, vector: u16, offset: u64, written: &[u8]) -> u32 {
        let mut data = [0; 4];
        match (offset % ENTRY, written) {
            (DATA, [a, b, c, d, ..]) => data = [*a, *b, *c, *d],
            _ => self.table.read(u64::from(vector) * ENTRY + DATA, &mut data),
        }
        u32::from_le_bytes(data)
    }

    fn write_control(&self, data: &[u8]) {
        let Ok(control) = <[u8; 2]>::try_from(data).map(u16::from_le_bytes) else {
            return;
        };
        let close = control & (ENABLE | FUNCTION_MASK) != ENABLE;
        let changes = self.function_closed.swap(close, Ordering::SeqCst) != close;
        if changes && !close {
            (0..VECTORS).for_each(|vector| self.watch.opens(vector));
        }
        report(&self.table.config_write(2, &control.to_le_bytes()));
        if changes && close {
            (0..VECTORS).for_each(|vector| self.watch.closed(vector));
        }
    }

    /// The guest reads from the device's region.
    pub(crate) fn read(&self, vcpu: u8, offset: u64, data: &mut [u8]) {
        self.count_access(vcpu);
        match offset {
            CONTROL..END => data.fill(0),
            PENDING.. => self.table.pba_read(offset - PENDING, data),
            _ => self.table.read(offset - TABLE, data),
        }
    }

    fn count_access(&self, vcpu: u8) {
        if let Some(accesses) = self.accesses.get(usize::from(vcpu)) {
            accesses.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// By vCPU: how many accesses it has made to the device.
    pub(crate) fn accesses(&self) -> impl Iterator<Item = u64> {
        let accesses = self.accesses.iter();
        accesses.map(|accesses| accesses.load(Ordering::SeqCst))
    }

    /// Triggers a vector: as the VMM does, or as another process with the notifier does.
    ///
    /// Returns whether the trigger was kept; `false` for an exported vector, where it is not known.
    pub(crate) fn trigger(&self, number: u16) -> Result<bool, String> {
        let vector = self.vector(number)?;
        if let Some(notifier) = vector.notifier() {
            notifier.notify().map_err(|error| error.to_string())?;
            return Ok(false);
        }
        match vector.trigger().map_err(|error| error.to_string())? {
            Triggered::Kept | Triggered::Disabled => Ok(true),
            Triggered::Delivered => Ok(false),
            other => Err(format!("vector {number} was {other:?}")),
        }
    }

    /// Whether a signal of the vector injects its message.
    pub(crate) fn is_open(&self, number: u16) -> Result<bool, String> {
        use VectorState::{Armed, Open};
        Ok(matches!(self.vector(number)?.state(), Open | Armed))
    }

    /// The state of a vector, for the text that reports a lost interrupt.
    pub(crate) fn describe(&self, number: u16) -> String {
        match self.vector(number) {
            Ok(vector) => format!("{vector:?}"),
            Err(error) => error,
        }
    }

    /// Arms the vectors that the guest unmasks, until `stop` is signalled.
    pub(crate) fn serve(&self, stop: &EventNotifier) -> Result<(), String> {
        let mut fds =
            [self.queue.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while !stop.is_signalled().map_err(|error| error.to_string())? {
            // After an interrupted poll, too, the queue shows what there is to do.
            let _ = poll(&mut fds, PollTimeout::NONE);
            if let Some(dead) = self.queue.run_pending().failed.first() {
                return Err(dead.to_string());
            }
        }
        Ok(())
    }

    fn vector(&self, number: u16) -> Result<&VectorHandle, String> {
        self.table
            .vector(number)
            .ok_or_else(|| format!("there is no vector {number}"))
    }
}

/// This guest writes valid messages only, so there are none.
fn report(dead: &[Dead]) {
    for dead in dead {
        eprintln!("msix: {dead}");
    }
}

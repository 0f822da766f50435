// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: its vectors, and the registers by which the guest programs them.

use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Triggered, Vector, msix};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify_core::{EventNotifier, Vm};

use crate::layout::{
    CONTROL, DATA, ENABLE, END, ENTRY, FUNCTION_MASK, PENDING, TABLE, VECTOR_CONTROL, VECTORS,
    is_exported,
};
use crate::watch::Watch;

pub(crate) struct Device {
    pub(crate) watch: Arc<Watch>,
    table: msix::Table,
    queue: ArmQueue,
    /// Of each vector: whether the guest has masked it.
    masked: Vec<AtomicBool>,
    /// Whether the guest has masked or disabled the function.
    function_closed: AtomicBool,
}

impl Device {
    /// A device that was just reset, with some of its vectors exported.
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
        })
    }

    /// The guest writes to the device's region. What it opens or closes is told to the watch: closed
    /// when this has returned, and open when it begins.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) {
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
        let (Some(control), Some(vector), Some(own)) = (control, vector, own) else {
            return self.table.write(offset, data);
        };
        let mask = control & 1 == 1;
        let changes = own.swap(mask, Ordering::SeqCst) != mask;
        if changes && !mask {
            self.watch
                .sends(vector, self.message_data(vector, offset, data));
            self.watch.opens(vector);
        }
        self.table.write(offset, data);
        if changes && mask {
            self.watch.closed(vector);
        }
    }

    /// The data that a vector has when this is written: it may be part of it.
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
        self.table.write_message_control(control);
        if changes && close {
            (0..VECTORS).for_each(|vector| self.watch.closed(vector));
        }
    }

    /// The guest reads from the device's region.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        match offset {
            CONTROL..END => data.fill(0),
            PENDING.. => self.table.pba_read(offset - PENDING, data),
            _ => self.table.read(offset - TABLE, data),
        }
    }

    /// Raises an interrupt: as the VMM does, or as another process does that has the notifier. Answers
    /// whether it was kept, as far as is known.
    pub(crate) fn trigger(&self, number: u16) -> Result<bool, String> {
        let vector = self.vector(number)?;
        if let Some(notifier) = vector.notifier() {
            notifier.notify().map_err(|error| error.to_string())?;
            return Ok(false);
        }
        match vector.trigger().map_err(|error| error.to_string())? {
            Triggered::Kept => Ok(true),
            Triggered::Delivered => Ok(false),
            other => Err(format!("vector {number} was {other:?}")),
        }
    }

    /// What is known of a vector, for whoever wonders where its interrupt is.
    pub(crate) fn describe(&self, number: u16) -> String {
        match self.vector(number) {
            Ok(vector) => format!("{vector:?}"),
            Err(error) => error,
        }
    }

    /// Arms what the guest unmasks, until `stop` is signalled.
    pub(crate) fn serve(&self, stop: &EventNotifier) -> Result<(), String> {
        let mut fds =
            [self.queue.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        while !stop.is_signalled().map_err(|error| error.to_string())? {
            // Interrupted or not, the queue says what there is to do.
            let _ = poll(&mut fds, PollTimeout::NONE);
            if let Some((_, error)) = self.queue.run_pending().failed.first() {
                return Err(format!("a vector cannot be armed: {error}"));
            }
        }
        Ok(())
    }

    fn vector(&self, number: u16) -> Result<&Vector, String> {
        self.table
            .vector(number)
            .ok_or_else(|| format!("there is no vector {number}"))
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
use std::error::Error;
use std::sync::Arc;

use irqfd::msix;
use notify_core::EventNotifier;
use notify_core::dispatcher::{DispatcherHandle, Token};

/// Bits of the device status.
pub const DRIVER_OK: u8 = 4;
pub const SUSPEND: u8 = 16;
pub const NEEDS_RESET: u8 = 64;

/// What a suspend of a virtio device concerns.
pub struct Device {
    pub status: u8,
    /// It calls the handlers of the queues.
    pub dispatcher: DispatcherHandle,
    /// The kick of each queue, bound to its doorbell, and the queue's handler.
    pub queues: Vec<(Arc<EventNotifier>, Token)>,
    /// It has the vectors of the queues and of configuration changes.
    pub table: msix::Table,
}

impl Device {
    /// The driver, which has negotiated VIRTIO_F_SUSPEND, writes the device status.
    pub fn write_status(&mut self, written: u8) {
        let done = if self.status & DRIVER_OK != 0 && written & SUSPEND != 0 {
            self.suspend()
        } else if self.status & SUSPEND != 0 && written & DRIVER_OK != 0 {
            self.resume()
        } else {
            return; // initialisation, a reset, or a bit that is to be ignored now
        };
        if done.is_err() {
            self.status |= NEEDS_RESET;
        }
    }

    fn suspend(&mut self) -> Result<(), Box<dyn Error>> {
        for (kick, handler) in &self.queues {
            // When this returns, the handler does not run. A kick that it has not handled is
            // handed back, and goes into the counter again, as one.
            if self.dispatcher.pause(*handler)?.is_some() {
                kick.notify()?;
            }
        }
        // Here: wait for requests in flight, and trigger the vectors of what they have used.
        self.table.pause();
        self.status = self.status & !DRIVER_OK | SUSPEND;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Box<dyn Error>> {
        self.status = self.status & !SUSPEND | DRIVER_OK;
        // Each vector that was triggered meanwhile is delivered, once.
        for dead in self.table.resume() {
            eprintln!("{dead}");
        }
        // Each queue that was kicked meanwhile is looked at, once.
        for (_, handler) in &self.queues {
            self.dispatcher.resume(*handler)?;
        }
        Ok(())
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: a virtio device that its driver suspends and resumes (VIRTIO_F_SUSPEND).
//!
//! VIRTIO 1.4, 3.4 (feature bit 43). The driver sets SUSPEND (16) in the device status. The device
//! completes what it has begun, then shows SUSPEND and clears DRIVER_OK (4). The driver resumes it
//! by setting DRIVER_OK, and the device clears SUSPEND. While the device is suspended it must not
//! use a virtqueue, change its configuration space or send a notification. A change of the
//! configuration is notified when it resumes. A device that fails sets DEVICE_NEEDS_RESET (64).
//!
//! While the device is suspended:
//!
//! - No kick is handled. A queue that was kicked is looked at once after the resume.
//! - No call is delivered. A vector that was triggered sends one interrupt after the resume.
//!
//! ```text
//!  suspend   pause the queues' handlers ─▶ requests in flight end ─▶ pause the vectors ─▶ status
//!  resume    status ─▶ resume the vectors ─▶ resume the queues' handlers
//! ```
//!
//! Pause the handlers first, so that nothing new begins. Pause the vectors last, so that interrupts
//! for completed requests are still delivered. Each part keeps what comes meanwhile (`Dispatcher`
//! is in `notify-core`, feature `dispatcher`; `Vrings` are in `notify_core::vring`):
//!
//! | part | suspend | while suspended | resume |
//! |---|---|---|---|
//! | a kick | nothing: its doorbell stays registered | stays in the counter of the notifier | nothing |
//! | a queue's handler | `DispatcherHandle::pause`; signal again what it returns | is not called | `DispatcherHandle::resume`: one call, if there was a kick |
//! | a vhost back-end | `Vrings::stop`, before the vectors | kicks stay in the counter | `Vrings::start`, which kicks each ring once |
//! | MSI-X, MSI | [`Table::pause`](crate::msix::Table::pause), [`Capability::pause`](crate::msi::Capability::pause) | triggers and signals are kept; the guest may mask and unmask | `resume`: one interrupt for each vector with a trigger |
//! | a level-triggered line | [`LevelLine::pause`](crate::LevelLine::pause), if the line is the device's alone | assertions are kept | [`LevelLine::resume`](crate::LevelLine::resume) |
//! | an [`IrqFd`](crate::IrqFd) | [`deassign`](crate::IrqFd::deassign) | signals stay in the notifier | [`assign`](crate::IrqFdBuilder::assign) |
//!
//! - A device with another event loop removes the kick from the loop instead of the pause, and adds
//!   it at the resume.
//! - Do not pause a line that other devices share. On such a line the device asserts nothing while
//!   it is suspended.
//! - A change of the configuration needs no code of its own: trigger its vector at once. The paused
//!   table keeps the trigger.
//! - If the table has an [`ArmQueue`](crate::ArmQueue), exported and private vectors are armed by
//!   the queue's owner, after `resume` has returned. Their pending interrupts are delivered then.
//! - If the suspend fails, DRIVER_OK is still set: trigger the vector of configuration changes
//!   after DEVICE_NEEDS_RESET is set, as for any other error (2.1.2).
//! - A reset ends the suspension: reset the device as usual, and resume the table.
//! - If the VM is saved while a device is suspended, its table is paused already. Restore the
//!   device into the same state, and leave it paused when the VM goes on.
//!
//! `suspend` blocks until the handlers have returned, and for one KVM_IRQFD for each armed vector.
//! The vCPU that writes the status waits meanwhile. Do not hold a lock that a handler takes.
//!
#![doc = concat!("```\n", include_str!("../tests/suspend/recipe.rs"), "```")]

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vectors of a device, by number: what MSI and MSI-X have in common.

use std::sync::Arc;

use irq_routing::{GsiLease, RoutingTable};
use notify_core::Rejected;

use crate::vector::{Device, Masks};
use crate::{ArmQueue, ResumeBatch, Vector, VectorError, VectorHandle};

/// So many vectors of a device, masked and without messages.
pub(crate) fn build(
    routing: &RoutingTable,
    queue: Option<&ArmQueue>,
    private: bool,
    device: &Arc<Device>,
    count: usize,
) -> Result<Box<[VectorHandle]>, VectorError> {
    let numbers = (0..=u16::MAX).take(count);
    let build = |number| {
        let builder = Vector::builder(routing)
            .private_irqfd(private)
            .of(device, number);
        match queue {
            Some(queue) => builder.queue(queue).build_handle(),
            None => builder.build_handle(),
        }
    };
    numbers.map(build).collect()
}

/// Pauses all of them.
pub(crate) fn pause(vectors: &[VectorHandle]) {
    for vector in vectors {
        vector.inner.add_mask(Masks::PAUSE);
    }
}

/// Adds all of them to a batch.
pub(crate) fn resume_in(vectors: &[VectorHandle], batch: &mut ResumeBatch) {
    vectors.iter().for_each(|vector| batch.resume(vector));
}

/// Gives one of them this GSI.
pub(crate) fn set_lease(
    vectors: &[VectorHandle],
    number: u16,
    lease: GsiLease,
) -> Result<(), Rejected<GsiLease, VectorError>> {
    match vectors.get(usize::from(number)) {
        Some(vector) => vector.inner.set_lease(lease),
        None => Err(Rejected::new(VectorError::NoVector { number }, lease)),
    }
}

/// Gives vectors of a restored device what they had pending, without the device's lock: a hostile
/// peer that shares a notifier may block a write to it.
pub(crate) fn restore_pending<'a>(vectors: impl Iterator<Item = &'a VectorHandle>) {
    for vector in vectors {
        match vector.trigger() {
            // It comes with the next unmask or resume.
            Err(VectorError::Notifier { cause }) => {
                log::error!("a pending interrupt is kept: {cause}");
                vector.inner.keep_pending();
            }
            Err(error) => log::error!("a pending interrupt is lost: {error}"),
            Ok(_) => {}
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vectors of a device, by number: what MSI and MSI-X have in common.

use std::sync::Arc;

use irq_routing::RoutingTable;

use crate::vector::Device;
use crate::{ArmQueue, Dead, Error, Vector, VectorState};

/// So many vectors of a device, masked and without messages.
pub(crate) fn build(
    routing: &RoutingTable,
    queue: Option<&ArmQueue>,
    device: &Arc<Device>,
    count: usize,
) -> Result<Box<[Vector]>, Error> {
    let numbers = (0..=u16::MAX).take(count);
    let build = |number| {
        let builder = Vector::builder(routing).of(device, number);
        match queue {
            Some(queue) => builder.queue(queue).build(),
            None => builder.build(),
        }
    };
    numbers.map(build).collect()
}

/// Those that are open and lead nowhere.
pub(crate) fn dead(vectors: &[Vector]) -> Vec<Dead> {
    let dead = |vector: &Vector| match vector.state() {
        VectorState::Dead(reason) => Some(Dead::new(&vector.inner, reason)),
        _ => None,
    };
    vectors.iter().filter_map(dead).collect()
}

/// Gives vectors of a restored device what they had pending, without the device's lock: a notifier that a hostile
/// peer shares may block who signals it.
pub(crate) fn restore_pending<'a>(vectors: impl Iterator<Item = &'a Vector>) {
    for vector in vectors {
        if let Err(error) = vector.restore_pending() {
            log::error!("a pending interrupt is lost: {error}");
        }
    }
}

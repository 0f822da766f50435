// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The vectors of a device, by number: what MSI and MSI-X have in common.

use std::sync::Arc;

use irq_routing::RoutingTable;

use crate::{ArmQueue, Error, Vector, VectorState};

/// So many vectors, masked and without messages.
pub(crate) fn build(
    routing: &RoutingTable,
    queue: Option<&ArmQueue>,
    count: usize,
) -> Result<Box<[Vector]>, Error> {
    let build = |_| match queue {
        Some(queue) => Vector::builder(routing).queue(queue).build(),
        None => Vector::builder(routing).build(),
    };
    (0..count).map(build).collect()
}

/// Those that are open and lead nowhere, and why.
pub(crate) fn dead(vectors: &[Vector]) -> Vec<(u16, Arc<Error>)> {
    let dead = |(number, vector): (u16, &Vector)| match vector.state() {
        VectorState::Dead(reason) => Some((number, reason)),
        _ => None,
    };
    (0..).zip(vectors).filter_map(dead).collect()
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

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Device`]: what the vectors of one device have in common; [`Dead`]: one of them that cannot
//! deliver.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Inner, VectorHandle};
use crate::VectorError;
use crate::sync::atomic::{AtomicBool, Ordering};

/// What the vectors of one device have in common.
#[derive(Debug)]
pub(crate) struct Device {
    /// Distinguishes its edits from those of other devices.
    pub(super) owner: u64,
    name: Option<Arc<str>>,
    /// Whether the guest has enabled its message-signalled interrupts.
    enabled: AtomicBool,
}

impl Device {
    pub(crate) fn new(name: Option<Arc<str>>, enabled: bool) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            owner: LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            name,
            enabled: AtomicBool::new(enabled),
        }
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }
}

/// A vector that cannot deliver although it is not masked.
///
/// It was refused a GSI, a route or an irqfd, or KVM refuses its message. Signals stay in its
/// notifier, or are kept. It is tried again when it is masked and unmasked, and when it gets
/// another message. If the reason is temporary and the vector has a queue, the queue retries.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dead {
    /// The vector.
    pub vector: VectorHandle,
    /// The number in its device, if it belongs to one.
    pub number: Option<u16>,
    /// The name of its device, if it has one.
    pub name: Option<Arc<str>>,
    /// Why.
    pub reason: VectorError,
}

impl Dead {
    pub(crate) fn new(inner: &Arc<Inner>, reason: VectorError) -> Self {
        Self {
            vector: VectorHandle {
                inner: Arc::clone(inner),
            },
            number: inner.number,
            name: inner.device.name().cloned(),
            reason,
        }
    }
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "vector {number}")?,
            None => f.write_str("a vector")?,
        }
        if let Some(name) = &self.name {
            write!(f, " of {name}")?;
        }
        write!(f, " is dead: {}", self.reason)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`EoiExits`]: where the VMM reports EOIs that the kernel does not handle.

use std::fmt;
use std::ptr;
use std::sync::{Arc, PoisonError, Weak};

use notify_core::Vm;

use super::inner::Inner;
use crate::LevelError;
use crate::sync::{Mutex, RwLock};

/// Where a VMM reports EOIs, for lines whose EOIs the kernel does not handle. Clones share it.
///
/// Create one for each VM. It belongs to the VM of the first line that is built with it; a line of
/// another VM is refused. It keeps no line alive.
///
/// Any thread may report. A report does not allocate. It waits for the lock of each line of that
/// vector or pin, and of a line whose entry is being written: for one KVM_IRQ_LINE or one commit. A
/// thread that builds or drops a line does not wait for a report.
/// [`EventNotifier::notify`](notify_core::EventNotifier::notify) describes what a hostile process
/// that shares a resample notifier can do.
///
/// ```text
/// loop {
///     match vcpu.run()? {
///         VcpuExit::IoapicEoi(vector) => {
///             exits.on_vector(vector);
///         }
///         // ...
///     }
/// }
/// ```
#[derive(Clone)]
pub struct EoiExits {
    /// Exchanged whole when a line is built, so that a report can take it along out of the lock.
    lines: Arc<RwLock<Arc<[Weak<Inner>]>>>,
    /// The VM of the lines that have a GSI.
    vm: Arc<Mutex<Option<Weak<dyn Vm>>>>,
}

impl EoiExits {
    /// Reports KVM_EXIT_IOAPIC_EOI: an EOI of a vector.
    ///
    /// It is an EOI of **every** line whose redirection entry is level-triggered and has this
    /// vector. Returns how many lines there are. A line that cannot interrupt again logs that, and
    /// retries with its next change of any kind.
    pub fn on_vector(&self, vector: u8) -> usize {
        self.on_each(|line| line.end_of_vector(vector))
    }

    /// Reports an EOI of a pin of the VMM's own controller.
    ///
    /// Returns how many lines have this number: a pin of a controller, or on a split irqchip the
    /// GSI.
    pub fn on_pin(&self, pin: u32) -> usize {
        self.on_each(|line| line.end_of_pin(pin))
    }

    /// Takes lines of this VM from now on. Returns false if it has lines of another one.
    pub(super) fn belongs_to(&self, vm: &Arc<dyn Vm>) -> bool {
        let mut known = self.vm.lock();
        match &*known {
            Some(other) if other.strong_count() > 0 => {
                ptr::addr_eq(other.as_ptr(), Arc::as_ptr(vm))
            }
            _ => {
                *known = Some(Arc::downgrade(vm));
                true
            }
        }
    }

    pub(super) fn register(&self, line: &Arc<Inner>) {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        let alive = lines.iter().filter(|line| line.strong_count() > 0);
        *lines = alive.cloned().chain([Arc::downgrade(line)]).collect();
    }

    fn on_each(&self, end: impl Fn(&Inner) -> Option<Result<(), LevelError>>) -> usize {
        let lines = Arc::clone(&self.lines.read().unwrap_or_else(PoisonError::into_inner));
        let alive = lines.iter().filter_map(Weak::upgrade);
        let ended = alive.filter_map(|line| end(&line));
        ended.fold(0, |ended, result| {
            if let Err(error) = result {
                log::error!("a line that is still high cannot interrupt again: {error}");
            }
            ended + 1
        })
    }
}

/// Has no line yet, and belongs to no VM.
impl Default for EoiExits {
    fn default() -> Self {
        Self {
            lines: Arc::new(RwLock::new(Arc::default())),
            vm: Arc::default(),
        }
    }
}

impl fmt::Debug for EoiExits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EoiExits").finish_non_exhaustive()
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The wired sources of an APLIC (riscv64, AIA). Every source is taken to be edge-triggered and
//! enabled, and no vCPU to take messages: KVM reports neither.
//!
//! Kernel source: `arch/riscv/kvm/aia*.c`.

#[derive(Debug)]
pub(super) struct Aplic {
    pub(super) initialised: bool,
    /// By number; there is no source 0.
    pending: Vec<bool>,
}

impl Aplic {
    pub(super) fn new(sources: u32) -> Self {
        let sources = usize::try_from(sources.min(1023)).unwrap_or(0);
        Self {
            initialised: false,
            pending: vec![false; sources + 1],
        }
    }

    /// Drives a source: 0, or the errno.
    pub(super) fn set(&mut self, source: u32, level: bool) -> i32 {
        if !self.initialised {
            return -libc::EBUSY;
        }
        let source = usize::try_from(source).ok().filter(|source| *source != 0);
        match source.and_then(|source| self.pending.get_mut(source)) {
            None => -libc::ENODEV,
            Some(pending) => {
                *pending |= level;
                0
            }
        }
    }

    pub(super) fn message(&self) -> i32 {
        if self.initialised { 0 } else { -libc::EBUSY }
    }

    pub(super) fn is_pending(&self, source: u32) -> bool {
        let pending = usize::try_from(source)
            .ok()
            .and_then(|at| self.pending.get(at));
        pending.is_some_and(|pending| *pending)
    }

    pub(super) fn acknowledge(&mut self, source: u32) -> bool {
        let at = usize::try_from(source).ok();
        let pending = at.and_then(|at| self.pending.get_mut(at));
        pending.is_some_and(std::mem::take)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The wired sources of an APLIC, and the IMSICs that take messages (riscv64, AIA). Every source is
//! taken to be edge-triggered and enabled.
//!
//! Kernel source: `arch/riscv/kvm/aia*.c`.

use notify_core::MsiMessage;

use super::interrupt::Stage;

/// The size of an IMSIC: one page of the first guest interrupt file.
const IMSIC_SIZE: u64 = 0x1000;
/// Where messages are written in little-endian and in big-endian byte order.
const SETIPNUM_LE: u64 = 0;
const SETIPNUM_BE: u64 = 4;
/// The highest message.
const IDS: u32 = 255;

#[derive(Debug, Default, Clone, Copy)]
struct Source {
    high: bool,
    pending: bool,
}

#[derive(Debug)]
pub(super) struct Aplic {
    pub(super) stage: Stage,
    pub(super) vcpus: usize,
    /// By number; there is no source 0.
    sources: Vec<Source>,
    /// The address of the first vCPU's.
    imsics: Option<u64>,
}

impl Aplic {
    pub(super) fn new(sources: u32, vcpus: usize, stage: Stage) -> Self {
        let sources = usize::try_from(sources.min(1023)).unwrap_or(0);
        Self {
            stage,
            vcpus,
            sources: vec![Source::default(); sources + 1],
            imsics: None,
        }
    }

    fn source(&mut self, number: u32) -> Option<&mut Source> {
        let at = usize::try_from(number).ok().filter(|at| *at != 0)?;
        self.sources.get_mut(at)
    }

    /// Drives a source: 0, or the errno. Only a rise makes it pending.
    pub(super) fn set(&mut self, source: u32, level: bool) -> i32 {
        if self.stage != Stage::Initialised {
            return -libc::EBUSY;
        }
        match self.source(source) {
            None => -libc::ENODEV,
            Some(source) => {
                source.pending |= level && !source.high;
                source.high = level;
                0
            }
        }
    }

    pub(super) fn set_imsics(&mut self, address: u64) {
        self.imsics = Some(address);
    }

    /// A message: 0, also if there is no IMSIC at its address, or the errno.
    pub(super) fn message(&self, message: &MsiMessage) -> i32 {
        if self.stage != Stage::Initialised {
            return -libc::EBUSY;
        }
        let page = |address| address / IMSIC_SIZE;
        let vcpu = self.imsics.and_then(|first| {
            let vcpu = page(message.address).checked_sub(page(first))?;
            usize::try_from(vcpu).ok().filter(|vcpu| *vcpu < self.vcpus)
        });
        let number = match message.address % IMSIC_SIZE {
            _ if vcpu.is_none() => return 0,
            _ if message.data == 0 => return -libc::ENODEV,
            SETIPNUM_LE => message.data,
            SETIPNUM_BE => message.data.swap_bytes(),
            _ => return -libc::ENODEV,
        };
        if number > IDS { -libc::EINVAL } else { 0 }
    }

    pub(super) fn is_pending(&self, source: u32) -> bool {
        let at = usize::try_from(source).ok();
        let source = at.and_then(|at| self.sources.get(at));
        source.is_some_and(|source| source.pending)
    }

    pub(super) fn acknowledge(&mut self, source: u32) -> bool {
        let source = self.source(source);
        source.is_some_and(|source| std::mem::take(&mut source.pending))
    }
}

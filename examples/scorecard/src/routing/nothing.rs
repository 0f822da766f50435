// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Nothing`]: a VM that does nothing, so that only our own work is measured.

use std::io;

use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, Platform,
    RouteBuffer, Vm,
};

/// Accepts everything and keeps nothing.
#[derive(Debug)]
pub(super) struct Nothing;

impl Vm for Nothing {
    fn check_extension(&self, _: Extension) -> io::Result<u32> {
        Ok(4096)
    }
    fn irqfd(&self, _: &IrqFdRequest<'_>) -> io::Result<()> {
        Ok(())
    }
    fn ioeventfd(&self, _: &IoEventFdRequest<'_>) -> io::Result<()> {
        Ok(())
    }
    fn set_gsi_routing(&self, _: &RouteBuffer) -> io::Result<()> {
        Ok(())
    }
    fn signal_msi(&self, _: &MsiMessage) -> io::Result<MsiOutcome> {
        Ok(MsiOutcome::Delivered(1))
    }
    fn irq_line_status(&self, _: u32, _: bool) -> io::Result<LineStatus> {
        Ok(LineStatus::Unknown)
    }
    fn platform(&self) -> io::Result<Option<Platform>> {
        Ok(Some(Platform::X86Split))
    }
}

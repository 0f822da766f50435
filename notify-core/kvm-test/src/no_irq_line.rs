// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`NoIrqLine`]: a port that cannot drive lines.

use std::io;
use std::sync::Arc;

use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, Platform,
    RouteBuffer, RoutingClaim, Vm,
};

/// A VM whose port has everything but `irq_line_status`.
#[derive(Debug)]
pub struct NoIrqLine(pub Arc<dyn Vm>);

impl Vm for NoIrqLine {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.0.check_extension(capability)
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.0.irqfd(request)
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.0.ioeventfd(request)
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.0.set_gsi_routing(table)
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.0.signal_msi(message)
    }

    fn irq_line_status(&self, _: u32, _: bool) -> io::Result<LineStatus> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn platform(&self) -> io::Result<Option<Platform>> {
        self.0.platform()
    }

    fn routing_claim(&self) -> Option<&RoutingClaim> {
        self.0.routing_claim()
    }

    fn retire(&self) {
        self.0.retire();
    }
}

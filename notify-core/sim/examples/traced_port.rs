// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A decorator of the port: a `Vm` that prints each request and makes it.
//!
//! ```sh
//! cargo run -p notify-sim --example traced_port
//! ```
//!
//! `irq-routing`, `ioeventfd` and `irqfd` take any `Arc<dyn Vm>`, so a VMM can put such a type
//! between them and its `KvmVm`. The guide `notify_core::ports` shows a port over a hypervisor
//! layer.

use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use notify_core::{
    EventNotifier, Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome,
    Platform, RouteBuffer, RoutingClaim, Vm,
};
use notify_sim::SimVm;

/// Prints the requests to the VM below it.
#[derive(Debug)]
struct Traced(Arc<dyn Vm>);

/// Prints what a request returned, and returns it.
fn traced<T: std::fmt::Debug>(what: &dyn std::fmt::Debug, result: io::Result<T>) -> io::Result<T> {
    println!("{what:?} -> {result:?}");
    result
}

impl Vm for Traced {
    fn check_extension(&self, extension: Extension) -> io::Result<u32> {
        traced(&extension, self.0.check_extension(extension))
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        traced(request, self.0.irqfd(request))
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        traced(request, self.0.ioeventfd(request))
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        traced(table, self.0.set_gsi_routing(table))
    }

    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        traced(message, self.0.signal_msi(message))
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        traced(&(gsi, level), self.0.irq_line_status(gsi, level))
    }

    // These have defaults, but a port in between must pass them on.

    fn irq_line(&self, gsi: u32, level: bool) -> io::Result<()> {
        traced(&(gsi, level), self.0.irq_line(gsi, level))
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

fn main() -> Result<(), Box<dyn Error>> {
    let sim = Arc::new(SimVm::builder().build());
    sim.enable_lapic(0);
    let vm: Arc<dyn Vm> = Arc::new(Traced(sim.clone()));

    let message = MsiMessage::new(0xfee0_0000, 0x41);
    assert_eq!(vm.signal_msi(&message)?, MsiOutcome::Delivered(1));
    let call = EventNotifier::new()?;
    vm.irqfd(&IrqFdRequest::assign(call.as_fd(), 5))?;
    let twice = vm.irqfd(&IrqFdRequest::assign(call.as_fd(), 6));
    assert!(twice.is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy));
    vm.irqfd(&IrqFdRequest::deassign(call.as_fd(), 5))?;
    assert_eq!(sim.pending_vectors(0), [0x41]);
    Ok(())
}

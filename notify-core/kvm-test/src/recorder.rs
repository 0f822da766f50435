// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Recorder`]: a VM that records the calls to it, and fails on request.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::{
    Extension, IoEventFdAction, IoEventFdRequest, IrqFdAction, IrqFdRequest, LineStatus,
    MsiMessage, MsiOutcome, Platform, RouteBuffer, RouteEntry, Vm,
};

/// One call of the VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// KVM_IRQFD: eventfd and GSI.
    Assign(i32, u32),
    /// KVM_IRQFD with the flag RESAMPLE: eventfd, GSI and resample eventfd.
    AssignResample(i32, u32, i32),
    /// KVM_IRQFD with the flag DEASSIGN.
    Deassign(i32, u32),
    /// KVM_IOEVENTFD: address, width and value.
    AssignDoorbell(u64, u32, Option<u64>),
    /// KVM_IOEVENTFD with the flag DEASSIGN.
    DeassignDoorbell(u64, u32, Option<u64>),
    /// KVM_IRQ_LINE: its number and level.
    Line(u32, bool),
    /// KVM_SET_GSI_ROUTING.
    Routes(Vec<RouteEntry>),
}

/// A VM that only records the calls to it.
#[derive(Debug, Default)]
pub struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    /// After so many more calls, the next one fails with this errno.
    failure: Option<(usize, i32)>,
    /// The results for capabilities that differ from the usual.
    capabilities: Vec<(Extension, u32)>,
    platform: Option<Option<Platform>>,
    hook: Hook,
}

/// A hook of a test that runs while the table is committed.
#[derive(Clone, Default)]
struct Hook(Option<Arc<OnRoutes>>);

type OnRoutes = dyn Fn(&[RouteEntry]) -> io::Result<()> + Send + Sync;

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Recorder {
    /// The calls since the last `take`, including those that failed.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Makes the call after the next `calls` fail, once.
    pub fn fail_after(&self, calls: usize, errno: i32) {
        self.lock().failure = Some((calls, errno));
    }

    /// Sets the result for a capability.
    pub fn answer(&self, capability: Extension, answer: u32) {
        self.lock().capabilities.push((capability, answer));
    }

    /// From now on there is no interrupt controller.
    pub fn lack_irqchip(&self) {
        self.lock().platform = Some(None);
    }

    /// From now on the VM has these interrupt controllers.
    pub fn has(&self, platform: Platform) {
        self.lock().platform = Some(Some(platform));
    }

    /// From now on calls `hook` with each table, and returns its result. It may wait or panic.
    pub fn on_routes(
        &self,
        hook: impl Fn(&[RouteEntry]) -> io::Result<()> + Send + Sync + 'static,
    ) {
        self.lock().hook = Hook(Some(Arc::new(hook)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, call: Call) -> io::Result<()> {
        let mut state = self.lock();
        state.calls.push(call);
        match state.failure {
            Some((0, errno)) => {
                state.failure = None;
                Err(io::Error::from_raw_os_error(errno))
            }
            Some((calls, errno)) => {
                state.failure = Some((calls - 1, errno));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Vm for Recorder {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        let state = self.lock();
        let set = state
            .capabilities
            .iter()
            .rfind(|(set, _)| *set == capability);
        Ok(match (set, capability) {
            (Some((_, answer)), _) => *answer,
            (None, Extension::IrqRouting) => 4096,
            (None, _) => 1,
        })
    }

    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        let (eventfd, gsi) = (request.eventfd.as_raw_fd(), request.gsi);
        self.call(match request.action {
            IrqFdAction::Deassign => Call::Deassign(eventfd, gsi),
            IrqFdAction::AssignResample(resample) => {
                Call::AssignResample(eventfd, gsi, resample.as_raw_fd())
            }
            _ => Call::Assign(eventfd, gsi),
        })
    }

    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        let (address, len, value) = (request.address, request.len, request.datamatch);
        self.call(match request.action {
            IoEventFdAction::Assign => Call::AssignDoorbell(address, len, value),
            _ => Call::DeassignDoorbell(address, len, value),
        })
    }

    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        let entries: Vec<_> = table.iter().collect();
        self.call(Call::Routes(entries.clone()))?;
        let hook = self.lock().hook.clone();
        hook.0.map_or(Ok(()), |hook| hook(&entries))
    }

    fn signal_msi(&self, _: &MsiMessage) -> io::Result<MsiOutcome> {
        Ok(MsiOutcome::Delivered(1))
    }

    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.call(Call::Line(gsi, level))?;
        Ok(LineStatus::Unknown)
    }

    /// Without pins by default, so that a table starts with no route.
    fn platform(&self) -> io::Result<Option<Platform>> {
        let told = self.lock().platform;
        Ok(told.unwrap_or(Some(Platform::X86Split)))
    }
}

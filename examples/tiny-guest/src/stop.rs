// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Makes a vCPU that runs in another thread return.
//!
//! A signal interrupts `KVM_RUN`, but a signal that arrives just before the request is lost. So the
//! stopper first stores a request, which the vCPU checks each time it enters, and then sends the
//! signal again and again until the vCPU has returned. Both sides use one lock, under which the
//! vCPU's thread records whether it may be inside: so a signal never goes to a thread that has
//! ended.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::{c_int, c_void, pthread_t, siginfo_t};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use crate::Error;

/// The time after which the signal is sent again. The first signal is lost very rarely.
const RETRY: Duration = Duration::from_millis(1);

/// Stops one vCPU, from any thread.
///
/// It needs the signal `SIGRTMIN`, which the thread of the vCPU must not block.
#[derive(Clone, Debug, Default)]
pub struct VcpuStopper {
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A stop was requested, and no run has returned for it yet.
    requested: bool,
    /// The thread that may be in `KVM_RUN`.
    inside: Option<Thread>,
}

impl VcpuStopper {
    /// Makes one [`Vcpu::run`](crate::Vcpu::run) return [`Exit::Stopped`](crate::Exit::Stopped):
    /// the current run, or else the next.
    ///
    /// After this has returned, the guest does not execute until a run has returned. A run that was
    /// about to return for another reason still reports that reason, and then the next run is
    /// stopped.
    pub fn stop(&self) {
        let mut state = self.gate.lock();
        state.requested = true;
        while let (true, Some(thread)) = (state.requested, &state.inside) {
            // This fails only for a thread that does not exist, and this one does.
            let _ = thread.kill(SIGRTMIN());
            let waited = self.gate.left.wait_timeout(state, RETRY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Registers the calling thread as inside, unless a stop was requested.
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        let mut state = self.gate.lock();
        if std::mem::take(&mut state.requested) {
            return None;
        }
        state.inside = Some(Thread::current());
        Some(Inside { gate: &self.gate })
    }
}

/// Proof that the stopper knows the calling thread. It never leaves `Vcpu::run`.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    gate: &'a Gate,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.lock().inside = None;
        self.gate.left.notify_all();
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent whenever the lock is free, even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread to which signals can be sent. Exists only while the thread does, see [`Inside`].
#[derive(Debug)]
struct Thread(pthread_t);

// SAFETY: POSIX allows all threads of a process to use the handle of one of its threads. It is a
// pointer with musl, which no code here follows, and an integer with glibc.
#[allow(unsafe_code)]
unsafe impl Send for Thread {}

impl Thread {
    #[allow(unsafe_code)]
    fn current() -> Self {
        // SAFETY: `pthread_self` has no preconditions.
        Self(unsafe { libc::pthread_self() })
    }
}

// SAFETY: the handle is that of a thread that has not ended. `enter` stores it on the thread
// itself, which is removed again by dropping `Inside` on the same thread, also when that unwinds:
// `run` holds it in a local variable. `kill` is called with the lock held, so not after the
// removal.
#[allow(unsafe_code)]
unsafe impl Killable for Thread {
    fn pthread_handle(&self) -> pthread_t {
        self.0
    }
}

/// Installs the handler of the signal that interrupts `KVM_RUN`. Without it, the signal would end
/// the process.
pub(crate) fn install_handler() -> Result<(), Error> {
    // The handler is empty: running it is what interrupts the request.
    extern "C" fn handler(_: c_int, _: *mut siginfo_t, _: *mut c_void) {}
    register_signal_handler(SIGRTMIN(), handler).map_err(|errno| Error::Signal(errno.into()))
}

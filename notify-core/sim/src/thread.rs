// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`DeliveryThread`]: carries out signals as they come.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Injected, SimVm};
use notify_core::EventNotifier;

/// A thread that calls [`SimVm::deliver`] whenever there is something to deliver.
///
/// It stands for the kernel's hooks of a real host. Dropping it stops the thread, and blocks until
/// the reaction under way has returned. (A reaction that drops it itself is not waited for.)
///
/// ```
/// use std::os::fd::AsFd;
/// use std::sync::{Arc, mpsc};
/// use notify_core::{EventNotifier, IrqFdRequest, Vm};
/// use notify_sim::{DeliveryThread, Interrupt, SimVm};
///
/// let vm = Arc::new(SimVm::builder().build());
/// let (interrupts, guest) = mpsc::channel();
/// let thread = DeliveryThread::start(Arc::clone(&vm), move |_, injected| {
///     let _ = interrupts.send(injected.interrupt);
/// })?;
///
/// let call = EventNotifier::new()?;
/// vm.irqfd(&IrqFdRequest::assign(call.as_fd(), 5))?;
/// call.notify()?;
/// assert_eq!(guest.recv()?, Interrupt::Pin { chip: 2, pin: 5, level: true });
/// drop(thread);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it stops the thread"]
pub struct DeliveryThread {
    wake: Arc<EventNotifier>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DeliveryThread {
    /// Starts a thread that passes each interrupt to `react`, which plays the guest.
    ///
    /// That includes what [`Vm::signal_msi`](notify_core::Vm::signal_msi) and changes of pins
    /// inject, and not only signals of eventfds.
    ///
    /// `react` may call the VM. A VM has one such thread at a time; a second one replaces it.
    ///
    /// # Errors
    ///
    /// EMFILE, EAGAIN and similar, if there is no file descriptor or no thread left.
    pub fn start(
        vm: Arc<SimVm>,
        mut react: impl FnMut(&SimVm, Injected) + Send + 'static,
    ) -> io::Result<Self> {
        let wake = Arc::new(EventNotifier::new().map_err(io::Error::other)?);
        let stop = Arc::new(AtomicBool::new(false));
        let signals = vm.readiness()?;
        let stopped = Arc::clone(&stop);
        let own = Arc::clone(&wake);
        vm.lock().listener = Some(Arc::clone(&wake));
        let thread = thread::Builder::new().name("sim-delivery".into());
        let thread = thread.spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                // What cannot be read was not there.
                let _ = own.consume();
                vm.deliver().into_iter().for_each(|one| react(&vm, one));
                let mut fds = [
                    PollFd::new(own.as_fd(), PollFlags::POLLIN),
                    PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                ];
                if !stopped.load(Ordering::Acquire) {
                    // Interrupted or not, the next round looks for itself.
                    let _ = poll(&mut fds, PollTimeout::NONE);
                }
            }
            let mut state = vm.lock();
            state.listener.take_if(|current| Arc::ptr_eq(current, &own));
        })?;
        Ok(Self {
            wake,
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for DeliveryThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // It fails only where the counter is full, which wakes as well.
        let _ = self.wake.notify();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A reaction that panicked has said so already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for DeliveryThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryThread").finish_non_exhaustive()
    }
}

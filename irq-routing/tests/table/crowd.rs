// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Callers that come while a table is in the kernel.

use std::io;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, ScopedJoinHandle};

use kvm_test::{Recorder, ThreadId};
use notify_core::RouteEntry;

/// A kernel that makes every call wait until it is opened.
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    entered: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    /// Tables wait, then get what `reply` has for them.
    pub(crate) fn new(
        vm: &Recorder,
        reply: impl Fn(&[RouteEntry]) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (enter, entered) = mpsc::channel();
        let gate = Arc::new(Self {
            open: Mutex::new(false),
            opened: Condvar::new(),
            entered: Mutex::new(entered),
        });
        let guarded = Arc::clone(&gate);
        vm.on_routes(move |entries| {
            let _ = enter.send(());
            let open = guarded.open.lock().unwrap();
            drop(guarded.opened.wait_while(open, |open| !*open).unwrap());
            reply(entries)
        });
        gate
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// Runs `first` until its table is in the kernel; then the others, each until it waits; then
    /// `meanwhile`; then opens. Returns the results of the first and of the others.
    pub(crate) fn crowd<R: Send, F: FnOnce() -> R + Send>(
        &self,
        first: F,
        others: Vec<F>,
        meanwhile: impl FnOnce(),
    ) -> (thread::Result<R>, Vec<R>) {
        thread::scope(|scope| {
            let opens = Opens(self);
            let first = scope.spawn(first);
            self.entered.lock().unwrap().recv().unwrap();
            let start = |other: F| {
                let (tell, told) = mpsc::channel();
                let handle = scope.spawn(move || {
                    tell.send(ThreadId::current().unwrap()).unwrap();
                    other()
                });
                told.recv().unwrap().wait_until_asleep().unwrap();
                handle
            };
            let others: Vec<_> = others.into_iter().map(start).collect();
            meanwhile();
            drop(opens);
            let join = |handle: ScopedJoinHandle<'_, R>| handle.join().unwrap();
            (first.join(), others.into_iter().map(join).collect())
        })
    }
}

/// Opens when it is dropped: a failing test must not wait for ever.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Threads that carry out one job each, and whose blocking can be observed.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

/// Far longer than a commit takes: a caller that has not returned by then was not woken.
const LIMIT: Duration = Duration::from_secs(20);

/// The limit after the first failure, so that the history is shortened quickly.
const SHORT_LIMIT: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// A thread that waits for jobs.
#[derive(Debug)]
struct Worker {
    jobs: Sender<Job>,
    begun: Arc<AtomicBool>,
    stat: File,
}

thread_local! {
    static IDLE: RefCell<Vec<Worker>> = const { RefCell::new(Vec::new()) };
}

/// A job that was started, and its result.
#[derive(Debug)]
pub(super) struct Started<R> {
    worker: Worker,
    result: Receiver<R>,
}

/// Starts a job. Worker threads are kept for later jobs of this thread.
pub(super) fn start<R: Send + 'static>(job: impl FnOnce() -> R + Send + 'static) -> Started<R> {
    let idle = IDLE.with_borrow_mut(Vec::pop);
    let worker = idle.unwrap_or_else(Worker::new);
    let (send, result) = channel();
    let begun = Arc::clone(&worker.begun);
    begun.store(false, Ordering::SeqCst);
    let job: Job = Box::new(move || {
        begun.store(true, Ordering::SeqCst);
        let _ = send.send(job());
    });
    worker.jobs.send(job).expect("the worker waits for jobs");
    Started { worker, result }
}

impl Worker {
    fn new() -> Self {
        let (jobs, receiver) = channel::<Job>();
        let (tell, told) = channel();
        thread::spawn(move || {
            let task = std::fs::read_link("/proc/thread-self").expect("/proc is mounted");
            let stat = std::path::Path::new("/proc").join(task).join("stat");
            let _ = tell.send(File::open(stat).expect("the thread runs"));
            receiver.into_iter().for_each(|job| job());
        });
        let stat = told.recv().expect("the thread has started");
        let begun = Arc::default();
        Self { jobs, begun, stat }
    }

    fn sleeps(&self) -> bool {
        let mut bytes = [0; 128];
        let len = self.stat.read_at(&mut bytes, 0).expect("the thread lives");
        // "17 (name) S ...": a name may contain parentheses.
        let text = &bytes[..len];
        let end = text.iter().rposition(|byte| *byte == b')');
        end.is_some_and(|end| text[end..].starts_with(b") S"))
    }
}

impl<R> Started<R> {
    /// Blocks until the job waits for something or has ended.
    pub(super) fn wait_until_it_waits(&self) {
        while !self.worker.begun.load(Ordering::SeqCst) || !self.worker.sleeps() {
            thread::yield_now();
        }
    }

    /// Returns the job's result.
    pub(super) fn join(self) -> R {
        static HAS_FAILED: AtomicBool = AtomicBool::new(false);

        let limit = match HAS_FAILED.load(Ordering::Relaxed) {
            true => SHORT_LIMIT,
            false => LIMIT,
        };
        let Ok(result) = self.result.recv_timeout(limit) else {
            HAS_FAILED.store(true, Ordering::Relaxed);
            panic!("a caller was never woken");
        };
        IDLE.with_borrow_mut(|idle| idle.push(self.worker));
        result
    }
}

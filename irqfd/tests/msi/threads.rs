// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guest accesses from several vCPUs at once.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;

use irq_routing::RoutingTable;
use irqfd::VectorState;
use irqfd::msi::Capability;
use kvm_test::{PATIENCE, Recorder};

use super::{Bench, driven, read32, save, vector, write32};

/// A mask must not wait for the commit of another vCPU's unmask, nor must reads.
fn holds_nobody_up(open: fn(&Capability)) {
    let vm = Arc::new(Recorder::default());
    let routing = RoutingTable::new(vm.clone()).unwrap();
    let msi = Capability::builder(&routing).vectors(2).build().unwrap();
    vector(&msi, 0).export().unwrap();
    let (started, start) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    vm.on_routes(move |_| {
        let _ = started.send(());
        let released = released.lock().unwrap().recv_timeout(PATIENCE);
        assert_eq!(released, Err(RecvTimeoutError::Disconnected), "held up");
        Ok(())
    });
    thread::scope(|scope| {
        let opens = scope.spawn(|| open(&msi));
        start.recv_timeout(PATIENCE).unwrap();
        write32(&msi, 16, 1);
        assert_eq!(read32(&msi, 16), 1);
        drop(release);
        opens.join().unwrap();
    });
    assert!(matches!(vector(&msi, 0).state(), VectorState::Masked));
}

#[test]
fn a_commit_under_way_holds_nobody_up() {
    holds_nobody_up(|msi| drop(msi.write(2, &[1])));
}

#[test]
fn the_commit_of_what_is_restored_holds_nobody_up() {
    holds_nobody_up(|msi| {
        let saved = driven(&Bench::new(), 2, 0, 0x40);
        msi.restore(&save(&saved)).unwrap();
    });
}

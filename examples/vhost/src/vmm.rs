// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vmm`]: runs the guest, and does to the device what the guest requests.

use std::error::Error;
use std::num::Wrapping;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::NotifierPair;
use tiny_guest::{Exit, Vcpu};

use crate::exits::Exits;
use crate::guest::{DONE, QUEUES};
use crate::registers::{Write, table_offset};
use crate::requests::Requests;
use crate::session::Session;
pub use crate::totals::{Snapshots, Totals};

/// A device whose rings a back-end serves.
pub trait Device {
    /// Starts the rings where they are in the RAM of a VM. `pairs` has an eventfd of each kind for
    /// each.
    ///
    /// # Errors
    ///
    /// Those of the back-end.
    fn start(&mut self, session: &Session, pairs: Vec<NotifierPair>) -> Result<(), Box<dyn Error>>;

    /// Stops the rings, if they run: the back-end does not use them after this has returned.
    ///
    /// # Errors
    ///
    /// Those of the back-end.
    fn stop(&mut self, session: &Session) -> Result<(), Box<dyn Error>>;

    /// Gives a queue another call, if the rings run.
    ///
    /// # Errors
    ///
    /// Those of the back-end.
    fn set_pair(&mut self, queue: usize, pair: NotifierPair) -> Result<(), Box<dyn Error>>;
}

/// A guest, its device, and the counts of the run.
#[derive(Debug)]
pub struct Vmm<D> {
    /// Held during requests to the back-end, which may take long.
    device: Mutex<D>,
    /// Never held for long.
    current: Mutex<Current>,
    exits: Exits,
    requests: Requests,
}

/// The VM, and the state that outlives it.
#[derive(Debug)]
struct Current {
    session: Arc<Session>,
    /// Whether the guest has started the device.
    runs: bool,
    /// By queue: how many buffers were used before the guest reset its rings.
    used: [Wrapping<u16>; QUEUES],
    snapshots: Snapshots,
}

impl<D: Device> Vmm<D> {
    /// A device that was not started.
    pub fn new(device: D, session: Session) -> Self {
        Self {
            device: Mutex::new(device),
            current: Mutex::new(Current {
                session: Arc::new(session),
                runs: false,
                used: [Wrapping(0); QUEUES],
                snapshots: Snapshots::default(),
            }),
            exits: Exits::default(),
            requests: Requests::default(),
        }
    }

    /// Returns the device. Until the guard is dropped, the guest's accesses to registers wait.
    pub fn device(&self) -> MutexGuard<'_, D> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current VM. Does not wait for the device.
    pub fn session(&self) -> Arc<Session> {
        Arc::clone(&self.current().session)
    }

    /// Replaces the back-end. Kicks may exit until it is done.
    ///
    /// # Errors
    ///
    /// Those of the closure.
    pub fn replace(
        &self,
        replace: impl FnOnce(&mut D, &Session) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let mut device = self.device();
        self.exits.begun.fetch_add(1, SeqCst);
        let replaced = replace(&mut device, &self.session());
        self.exits.ended.fetch_add(1, SeqCst);
        replaced
    }

    /// Requests a snapshot at the current moment of guest and device. The vCPU's thread leaves the
    /// guest and takes it; this does not wait for it.
    pub fn request_snapshot(&self) {
        self.requests.snapshots.fetch_add(1, SeqCst);
        self.session().stop();
    }

    /// Makes the vCPU's thread leave the guest for good.
    pub fn end(&self) {
        self.requests.end.store(true, SeqCst);
        self.session().stop();
    }

    /// Whether the guest has ended, or was asked to.
    pub fn is_ending(&self) -> bool {
        self.requests.end.load(SeqCst)
    }

    /// The costs of the run.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn totals(&self) -> Result<Totals, Box<dyn Error>> {
        let current = self.current();
        let used = current.used_now()?;
        Ok(Totals {
            exits: self.exits.of_traffic.load(SeqCst),
            replacement_exits: self.exits.of_replacements.load(SeqCst),
            register_exits: self.exits.of_registers.load(SeqCst),
            snapshots: current.snapshots,
            used: used.map(|used| used.0),
        })
    }

    /// Returns the device and the VM, at the end.
    pub fn into_parts(self) -> (D, Arc<Session>) {
        let device = self.device.into_inner();
        let current = self.current.into_inner();
        (
            device.unwrap_or_else(PoisonError::into_inner),
            current.unwrap_or_else(PoisonError::into_inner).session,
        )
    }

    /// Runs the guest to its end, or until [`end`](Self::end).
    ///
    /// # Errors
    ///
    /// If the guest does something unexpected, or the device fails.
    pub fn run(&self, vcpu: Vcpu) -> Result<(), String> {
        let ended = self.run_guest(vcpu);
        self.requests.end.store(true, SeqCst);
        ended.map_err(|error| error.to_string())
    }

    fn run_guest(&self, mut vcpu: Vcpu) -> Result<(), Box<dyn Error>> {
        while !self.is_ending() {
            if self.requests.take_snapshot() {
                vcpu = self.move_elsewhere(vcpu, |snapshots| &mut snapshots.of_vmm)?;
                continue;
            }
            let ended = self.exits.ended.load(SeqCst);
            let session = self.session();
            match vcpu.run()? {
                Exit::MmioWrite { address, data } => {
                    let write = self.written(address, data, &session, ended)?;
                    if write == Write::Suspend {
                        vcpu = self.move_elsewhere(vcpu, |snapshots| &mut snapshots.of_guest)?;
                    }
                }
                Exit::MmioRead { address, data } => {
                    self.exits.of_registers.fetch_add(1, SeqCst);
                    let offset = table_offset(address);
                    let offset = offset.ok_or_else(|| format!("the guest read {address:#x}"))?;
                    session.wiring().table().read(offset, data);
                }
                // The loop finds out why.
                Exit::Stopped => {}
                Exit::Finished(DONE) => break,
                Exit::Finished(code) => return Err(format!("the guest gave up: {code}").into()),
                other => {
                    return Err(format!("the guest did something unexpected: {other:?}").into());
                }
            }
        }
        Ok(())
    }

    /// Handles a write of the guest outside of RAM. When that run of the vCPU began, `ended`
    /// replacements of the back-end had ended.
    fn written(
        &self,
        address: u64,
        data: &[u8],
        session: &Session,
        ended: u64,
    ) -> Result<Write, Box<dyn Error>> {
        let unexpected = || format!("the guest wrote {data:?} to {address:#x}");
        let write = Write::decode(address, data).ok_or_else(unexpected)?;
        self.exits.count(write, ended);
        if write == Write::Kick && !session.wiring().kicked(address, data)? {
            return Err(unexpected().into());
        }
        // There is one vCPU, and no other kick of it is in flight.
        session.wiring().vcpu_passed()?;
        match write {
            Write::Kick | Write::Suspend => {}
            Write::Table(offset) => {
                let dead = session.wiring().table().write(offset, data);
                if let Some(dead) = dead.first() {
                    return Err(dead.to_string().into());
                }
            }
            other => self.register(other, session)?,
        }
        Ok(write)
    }

    /// The guest has written a register.
    fn register(&self, write: Write, session: &Session) -> Result<(), Box<dyn Error>> {
        let wiring = session.wiring();
        let mut device = self.device();
        match write {
            Write::QueueVector(queue, entry) => {
                wiring.bind(queue, entry, |pair| device.set_pair(queue, pair))
            }
            Write::Bar(place) => wiring.move_bar(place),
            Write::Start => {
                self.current().runs = true;
                device.start(session, wiring.pairs()?)
            }
            Write::Stop => {
                device.stop(session)?;
                let mut current = self.current();
                current.runs = false;
                current.used = current.used_now()?;
                Ok(())
            }
            Write::Table(_) | Write::Kick | Write::Suspend => Ok(()),
        }
    }

    /// Saves the VM, and continues in another one with the same back-end. The vCPU must not be in
    /// the guest. Counts this in the field that `count` chooses.
    fn move_elsewhere(
        &self,
        mut vcpu: Vcpu,
        count: impl FnOnce(&mut Snapshots) -> &mut u32,
    ) -> Result<Vcpu, Box<dyn Error>> {
        let mut device = self.device();
        let session = self.session();
        let number = self.current().snapshots.total();
        device.stop(&session)?;
        let saved = session.save(&mut vcpu, number)?;
        let (next, vcpu) = session.elsewhere(&saved)?;
        let next = Arc::new(next);
        let [in_vector, in_apic] = saved.pending()?;
        let mut current = self.current();
        current.session = Arc::clone(&next);
        *count(&mut current.snapshots) += 1;
        current.snapshots.pending_in_vector += u32::from(in_vector);
        current.snapshots.pending_in_apic += u32::from(in_apic);
        let runs = current.runs;
        drop(current);
        // KVM may inject a signal twice if it comes while its irqfd is being assigned, so the
        // back-end does not run yet.
        next.wiring().resume()?;
        if runs {
            device.start(&next, next.wiring().pairs()?)?;
        }
        Ok(vcpu)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn used_now(&self) -> Result<[Wrapping<u16>; QUEUES], Box<dyn Error>> {
        let mut sums = self.used;
        for (sum, ring) in sums.iter_mut().zip(self.session.guest().rings()) {
            *sum += Wrapping(ring.used_index(self.session.memory())?);
        }
        Ok(sums)
    }
}

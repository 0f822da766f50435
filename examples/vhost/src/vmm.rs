// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vmm`]: runs the guest, and does to the device what the guest asks for.

use std::error::Error;
use std::num::Wrapping;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::NotifierPair;
use tiny_guest::{Exit, Vcpu};

use crate::guest::{DONE, QUEUES};
use crate::registers::{Write, table_offset};
use crate::session::Session;

/// A device whose rings a back-end serves.
pub trait Device {
    /// Starts the rings where they are in the RAM of a VM, with an eventfd of each kind for
    /// each.
    ///
    /// # Errors
    ///
    /// Those of the back-end.
    fn start(&mut self, session: &Session, pairs: Vec<NotifierPair>) -> Result<(), Box<dyn Error>>;

    /// Stops the rings, if they run: nothing uses them when this has returned.
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

/// A guest, its device, and what they cost.
#[derive(Debug)]
pub struct Vmm<D> {
    /// Held while the back-end is asked for something, which may take long.
    device: Mutex<D>,
    /// Never held for long.
    current: Mutex<Current>,
    exits: Exits,
}

/// The VM, and what went on before it.
#[derive(Debug)]
struct Current {
    session: Arc<Session>,
    /// By queue: how many buffers were used before the guest made its rings new.
    used: [Wrapping<u16>; QUEUES],
    /// How many VMs there were before this one.
    moves: u32,
}

/// Returns of KVM_RUN to user space, each of which is a wake-up of the VMM.
#[derive(Debug, Default)]
struct Exits {
    of_traffic: AtomicU64,
    of_replacements: AtomicU64,
    of_registers: AtomicU64,
    /// How many replacements of the back-end have begun and ended.
    begun: AtomicU64,
    ended: AtomicU64,
}

/// What a run has cost, and where it ended.
#[derive(Debug, Default, Clone, Copy)]
pub struct Totals {
    /// Exits that the traffic caused.
    pub exits: u64,
    /// Kicks that left the guest because the back-end was replaced.
    pub replacement_exits: u64,
    /// Exits by which the guest reached the device's registers.
    pub register_exits: u64,
    /// How many times the guest has gone on in another VM.
    pub moves: u32,
    /// By queue: how many buffers were used, modulo 2^16.
    pub used: [u16; QUEUES],
}

impl<D: Device> Vmm<D> {
    /// A device that was not started.
    pub fn new(device: D, session: Session) -> Self {
        Self {
            device: Mutex::new(device),
            current: Mutex::new(Current {
                session: Arc::new(session),
                used: [Wrapping(0); QUEUES],
                moves: 0,
            }),
            exits: Exits::default(),
        }
    }

    /// The device. The guest's accesses to registers wait meanwhile.
    pub fn device(&self) -> MutexGuard<'_, D> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The VM of now. Does not wait for the device.
    pub fn session(&self) -> Arc<Session> {
        Arc::clone(&self.current().session)
    }

    /// Replaces the back-end. Kicks may leave the guest until it is done.
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

    /// What the run has cost.
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
            moves: current.moves,
            used: used.map(|used| used.0),
        })
    }

    /// The device and the VM, at the end.
    pub fn into_parts(self) -> (D, Arc<Session>) {
        let device = self.device.into_inner();
        let current = self.current.into_inner();
        (
            device.unwrap_or_else(PoisonError::into_inner),
            current.unwrap_or_else(PoisonError::into_inner).session,
        )
    }

    /// Runs the guest to its end.
    ///
    /// # Errors
    ///
    /// If it does something unexpected, or the device fails.
    pub fn run(&self, mut vcpu: Vcpu) -> Result<(), String> {
        let text = |error: Box<dyn Error>| error.to_string();
        loop {
            let ended = self.exits.ended.load(SeqCst);
            let session = self.session();
            let (address, data) = match vcpu.run().map_err(|error| error.to_string())? {
                Exit::MmioWrite { address, data } => (address, data),
                Exit::MmioRead { address, data } => {
                    self.exits.of_registers.fetch_add(1, SeqCst);
                    let offset = table_offset(address);
                    let offset = offset.ok_or_else(|| format!("the guest read {address:#x}"))?;
                    session.wiring().table().read(offset, data);
                    continue;
                }
                Exit::Finished(DONE) | Exit::Stopped => return Ok(()),
                Exit::Finished(code) => return Err(format!("the guest gave up: {code}")),
                other => return Err(format!("the guest did something unexpected: {other:?}")),
            };
            let unexpected = || format!("the guest wrote {data:?} to {address:#x}");
            let write = Write::decode(address, data).ok_or_else(unexpected)?;
            self.exits.count(write, ended);
            if write == Write::Kick {
                let kicked = session.wiring().kicked(address, data);
                if !kicked.map_err(text)? {
                    return Err(unexpected());
                }
            }
            // There is one vCPU, and it carries no other kick.
            session.wiring().vcpu_passed();
            match write {
                Write::Kick => {}
                Write::Table(offset) => {
                    let dead = session.wiring().table().write(offset, data);
                    if let Some(dead) = dead.first() {
                        return Err(dead.to_string());
                    }
                }
                Write::Suspend => vcpu = self.suspend(vcpu, &session).map_err(text)?,
                other => self.register(other, &session).map_err(text)?,
            }
        }
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
            Write::Start => device.start(session, wiring.pairs()?),
            Write::Stop => {
                device.stop(session)?;
                let mut current = self.current();
                current.used = current.used_now()?;
                Ok(())
            }
            Write::Table(_) | Write::Kick | Write::Suspend => Ok(()),
        }
    }

    /// Goes on in another VM, with the same back-end.
    fn suspend(&self, mut vcpu: Vcpu, session: &Session) -> Result<Vcpu, Box<dyn Error>> {
        let mut device = self.device();
        device.stop(session)?;
        let (next, vcpu) = session.resume_elsewhere(&mut vcpu)?;
        let next = Arc::new(next);
        let mut current = self.current();
        current.session = Arc::clone(&next);
        current.moves += 1;
        drop(current);
        device.start(&next, next.wiring().pairs()?)?;
        Ok(vcpu)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Exits {
    /// Counts an exit of a run that began when so many replacements had ended.
    ///
    /// A replacement makes the guest exit if it kicks while its doorbell gets another eventfd.
    fn count(&self, write: Write, ended: u64) {
        let exits = match write {
            Write::Kick if self.begun.load(SeqCst) > ended => &self.of_replacements,
            Write::Kick => &self.of_traffic,
            _ => &self.of_registers,
        };
        exits.fetch_add(1, SeqCst);
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

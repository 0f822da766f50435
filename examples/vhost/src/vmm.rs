// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Vmm`]: runs the guest, and does to the device what the guest asks for.

use std::error::Error;
use std::num::Wrapping;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify_core::NotifierPair;
use tiny_guest::{Exit, Vcpu};

use crate::guest::{DONE, Guest, QUEUES};
use crate::registers::Write;
use crate::session::Session;

/// A device whose rings a back-end serves.
pub trait Device {
    /// Starts the rings where they are in the RAM of a machine, with an eventfd of each kind for
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

/// A device, and the machine that it belongs to.
#[derive(Debug)]
pub struct Hosted<D> {
    /// The device.
    pub device: D,
    /// The machine.
    pub session: Arc<Session>,
    /// By queue: how many buffers were used before the guest made its rings new.
    used: [Wrapping<u16>; QUEUES],
    /// How many machines there were before this one.
    moves: u32,
}

/// A guest, its device, and what they cost.
#[derive(Debug)]
pub struct Vmm<D> {
    hosted: Mutex<Hosted<D>>,
    exits: Exits,
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
        let hosted = Hosted {
            device,
            session: Arc::new(session),
            used: [Wrapping(0); QUEUES],
            moves: 0,
        };
        Self {
            hosted: Mutex::new(hosted),
            exits: Exits::default(),
        }
    }

    /// The device and the machine. The guest's accesses to registers wait meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Hosted<D>> {
        self.hosted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine of the moment.
    pub fn session(&self) -> Arc<Session> {
        Arc::clone(&self.lock().session)
    }

    /// Replaces the back-end. Kicks may leave the guest until it is done.
    ///
    /// # Errors
    ///
    /// Those of the closure.
    pub fn replace(
        &self,
        replace: impl FnOnce(&mut Hosted<D>) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let mut hosted = self.lock();
        self.exits.begun.fetch_add(1, SeqCst);
        let replaced = replace(&mut hosted);
        self.exits.ended.fetch_add(1, SeqCst);
        replaced
    }

    /// What the run has cost.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn totals(&self) -> Result<Totals, Box<dyn Error>> {
        let hosted = self.lock();
        let used = hosted.used_now()?;
        Ok(Totals {
            exits: self.exits.of_traffic.load(SeqCst),
            replacement_exits: self.exits.of_replacements.load(SeqCst),
            register_exits: self.exits.of_registers.load(SeqCst),
            moves: hosted.moves,
            used: used.map(|used| used.0),
        })
    }

    /// The device and the machine, at the end.
    pub fn into_parts(self) -> (D, Arc<Session>) {
        let hosted = self.hosted.into_inner();
        let hosted = hosted.unwrap_or_else(PoisonError::into_inner);
        (hosted.device, hosted.session)
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
            let (address, data) = match vcpu.run().map_err(|error| error.to_string())? {
                Exit::MmioWrite { address, data } => (address, data),
                Exit::Finished(DONE) | Exit::Stopped => return Ok(()),
                Exit::Finished(code) => return Err(format!("the guest gave up: {code}")),
                other => return Err(format!("the guest did something unexpected: {other:?}")),
            };
            let unexpected = || format!("the guest wrote {data:?} to {address:#x}");
            let write = Write::decode(address, data).ok_or_else(unexpected)?;
            self.exits.count(write, ended);
            match write {
                Write::Kick => {
                    let session = self.session();
                    if !session.wiring().kicked(address, data).map_err(text)? {
                        return Err(unexpected());
                    }
                }
                Write::Table(offset) => self.session().wiring().table().write(offset, data),
                Write::Suspend => vcpu = self.lock().suspend(vcpu).map_err(text)?,
                other => self.lock().register(other).map_err(text)?,
            }
        }
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

impl<D: Device> Hosted<D> {
    /// The guest has written a register.
    fn register(&mut self, write: Write) -> Result<(), Box<dyn Error>> {
        let wiring = self.session.wiring();
        match write {
            Write::QueueVector(queue, entry) => {
                wiring.bind(queue, entry);
                self.device.set_pair(queue, wiring.pair(queue)?)
            }
            Write::Bar(place) => wiring.move_bar(place),
            Write::Start => self.device.start(&self.session, wiring.pairs()?),
            Write::Stop => {
                self.device.stop(&self.session)?;
                self.used = self.used_now()?;
                Ok(())
            }
            Write::Table(_) | Write::Kick | Write::Suspend => Ok(()),
        }
    }

    /// Goes on in another machine, with the same back-end.
    fn suspend(&mut self, mut vcpu: Vcpu) -> Result<Vcpu, Box<dyn Error>> {
        self.device.stop(&self.session)?;
        let (session, vcpu) = self.session.resume_elsewhere(&mut vcpu)?;
        self.session = Arc::new(session);
        self.moves += 1;
        let pairs = self.session.wiring().pairs()?;
        self.device.start(&self.session, pairs)?;
        Ok(vcpu)
    }

    fn used_now(&self) -> Result<[Wrapping<u16>; QUEUES], Box<dyn Error>> {
        let mut sums = self.used;
        for (sum, ring) in sums.iter_mut().zip(self.session.guest().rings()) {
            *sum += Wrapping(ring.used_index(self.session.memory())?);
        }
        Ok(sums)
    }

    /// The guest of the machine.
    pub fn guest(&self) -> &Guest {
        self.session.guest()
    }
}

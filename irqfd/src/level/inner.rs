// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Inner`]: what the clones of a line share, and everything that happens to it.

use std::sync::Arc;

use irq_routing::Gsi;
use notify_core::EventNotifier;

use super::delivery::Delivery;
use super::entry::Entry;
use super::members::{Level, Member, Members, Place};
use super::message::Message;
use crate::LevelError;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What the clones of a line share.
pub(super) struct Inner {
    pub(super) number: Number,
    /// The vector whose EOI ends an interrupt of this line, or [`NO_VECTOR`], or [`CHANGING`]:
    /// written under the lock, and read without it to find out which lines an EOI may concern.
    ended_by: AtomicU32,
    state: Mutex<State>,
}

/// By what a line is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Gsi(Gsi),
    /// Of the VMM's own controller.
    Pin(u32),
}

const NO_VECTOR: u32 = u32::MAX;

/// The entry is being written. The EOI of an interrupt that this sends may come before the write
/// has returned, so the thread that reports an EOI waits for the lock.
const CHANGING: u32 = u32::MAX - 1;

#[derive(Debug)]
pub(super) struct State {
    pub(super) members: Members,
    pub(super) delivery: Delivery,
}

impl Inner {
    pub(super) fn new(number: Number, delivery: Delivery) -> Self {
        let members = Members::default();
        Self {
            number,
            ended_by: AtomicU32::new(NO_VECTOR),
            state: Mutex::new(State { members, delivery }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn number(&self) -> u32 {
        match self.number {
            Number::Gsi(gsi) => gsi.number(),
            Number::Pin(pin) => pin,
        }
    }

    /// Changes why a member holds the line up, or nothing; also if the VMM's controller panics.
    pub(super) fn set_level(
        &self,
        place: Place,
        change: impl FnOnce(&mut Level),
    ) -> Result<(), LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        let Some(member) = members.get(place) else {
            return Ok(());
        };
        let mut level = member.level;
        change(&mut level);
        let asserts = level.is_high();
        if level == member.level && !(asserts && delivery.sends_each_assertion()) {
            return Ok(());
        }
        delivery.admit_level(member)?;
        match asserts {
            true => delivery.assert()?,
            false => delivery.follow(members.level_with(place, level))?,
        }
        members.set_level(place, level);
        Ok(())
    }

    pub(super) fn join(&self, mut member: Member) -> Result<Place, LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        delivery.admit(members, &member)?;
        delivery.bind(&mut member)?;
        Ok(members.insert(member))
    }

    /// Takes a member off, or changes nothing.
    pub(super) fn leave(&self, place: Place) -> Result<(), LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        delivery.follow(members.level_with(place, Level::default()))?;
        let unbound = members
            .get_mut(place)
            .map_or(Ok(()), |member| delivery.unbind(member));
        match unbound {
            Ok(()) => members.remove(place),
            Err(_) => delivery.put_back(members.level()),
        }
        unbound
    }

    /// Takes a member off in any case, and returns what failed.
    pub(super) fn forget(&self, place: Place) -> [Option<LevelError>; 2] {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        members.set_level(place, Level::default());
        let lowered = delivery.follow(members.level());
        let unbound = members
            .get_mut(place)
            .map_or(Ok(()), |member| delivery.unbind(member));
        if unbound.is_err() {
            delivery.keep();
        }
        members.remove(place);
        [lowered.err(), unbound.err()]
    }

    pub(super) fn redirect(&self, new: Entry) -> Result<(), LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        let Delivery::Message(message) = delivery else {
            let line = self.number();
            return Err(LevelError::NoMessage { line });
        };
        let (ended, result) = self.change(message, |message| message.redirect(members, new));
        let told = ended.then(|| members.eoi_notifiers());
        drop(state);
        told.iter().for_each(|told| notify_all(told));
        result
    }

    /// Changes the redirection entry.
    fn change<T>(&self, message: &mut Message, change: impl FnOnce(&mut Message) -> T) -> T {
        self.ended_by.store(CHANGING, Ordering::Release);
        let result = change(message);
        let vector = message.ended_by().map_or(NO_VECTOR, u32::from);
        self.ended_by.store(vector, Ordering::Release);
        result
    }

    pub(super) fn end_of_vector(&self, vector: u8) -> Option<Result<(), LevelError>> {
        let ended_by = self.ended_by.load(Ordering::Acquire);
        if ended_by != u32::from(vector) && ended_by != CHANGING {
            return None;
        }
        let state = self.lock();
        // The guest may have written the entry since. The service of its old vector has ended with
        // that.
        let ended = match &state.delivery {
            Delivery::Message(message) => message.ended_by(),
            Delivery::Kernel(_) | Delivery::Controller(_) => None,
        };
        (ended == Some(vector)).then(|| Self::end_service(state))
    }

    pub(super) fn end_of_pin(&self, pin: u32) -> Option<Result<(), LevelError>> {
        (self.number() == pin).then(|| self.on_eoi())
    }

    pub(super) fn on_eoi(&self) -> Result<(), LevelError> {
        Self::end_service(self.lock())
    }

    fn end_service(mut state: MutexGuard<'_, State>) -> Result<(), LevelError> {
        let State { members, delivery } = &mut *state;
        let result = match delivery {
            Delivery::Kernel(_) => return Ok(()),
            Delivery::Message(message) => message.end_service(),
            Delivery::Controller(controller) => controller.end_service(members),
        };
        let told = members.eoi_notifiers();
        drop(state);
        notify_all(&told);
        result
    }

    pub(super) fn reassert(&self) -> Result<(), LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        match delivery {
            Delivery::Kernel(kernel) if members.level() => kernel.send(members),
            Delivery::Message(message) if !message.has_eois() => message.end_service(),
            _ => Ok(()),
        }
    }

    pub(super) fn resync(&self) -> Result<(), LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        let result = match delivery {
            Delivery::Kernel(kernel) => kernel.send(members),
            Delivery::Message(message) => message.end_service(),
            Delivery::Controller(controller) => {
                let ended = controller.end_service(members);
                ended.and_then(|()| controller.send(members.level()))
            }
        };
        let told = members.eoi_notifiers();
        drop(state);
        notify_all(&told);
        result
    }

    pub(super) fn set_paused(&self, paused: bool) -> Result<(), LevelError> {
        let mut state = self.lock();
        let State { members, delivery } = &mut *state;
        let (missed, result) = delivery.set_paused(members, paused);
        drop(state);
        notify_all(&missed);
        result
    }

    /// Gives the line the state of another one. All devices that want EOIs are notified: a device
    /// may not have read its notifier in the first VM. If this fails they are notified as by a
    /// redirection.
    pub(super) fn restore(
        &self,
        mut state: MutexGuard<'_, State>,
        restored: Restored,
    ) -> Result<(), LevelError> {
        let State { members, delivery } = &mut *state;
        let Restored {
            levels,
            sent,
            entry,
        } = restored;
        let level = levels.iter().copied().any(Level::is_high);
        let (may_be_sent, result) = match (delivery, entry) {
            (Delivery::Kernel(kernel), _) => (false, kernel.restore(members, (sent, level))),
            (Delivery::Controller(controller), _) => (false, controller.send(level)),
            (Delivery::Message(message), Some(entry)) => self.change(message, |message| {
                message.restore(members, entry, (sent, level))
            }),
            (Delivery::Message(_), None) => (false, Ok(())),
        };
        if result.is_ok() {
            for (member, level) in members.iter_mut().zip(levels) {
                member.level = level;
            }
        }
        let told = (may_be_sent || result.is_ok()).then(|| members.eoi_notifiers());
        drop(state);
        told.iter().for_each(|told| notify_all(told));
        result
    }
}

/// The state of another line, checked.
pub(super) struct Restored {
    /// Of each member.
    pub(super) levels: Vec<Level>,
    /// The level that was sent last.
    pub(super) sent: bool,
    pub(super) entry: Option<Entry>,
}

/// Signals all of them. A signal that is there already is as good.
fn notify_all(notifiers: &[Arc<EventNotifier>]) {
    for notifier in notifiers {
        if let Err(error) = notifier.notify() {
            log::error!("an EOI cannot be signalled to a device: {error}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The steps, apart from those that wait or run a dispatcher.

use std::io::{Read, Write};
use std::num::NonZeroU64;
use std::sync::Arc;

use notify_core::dispatcher::Error;

use super::baton::{Activity, Baton, Guard, Place};
use super::handlers::{Own, add};
use super::model::{Entry, HANDLERS, RunKind, SOURCES, SourceKind, State, Then, World};
use super::step::{Act, How, Odd};

/// No more calls inside each other.
const DEEP: usize = 12;

impl Baton {
    /// Carries out a step. Returns how the innermost call returns, if that is the step.
    pub(super) fn perform(self: &Arc<Self>, world: Guard<'_>, me: usize, act: Act) -> Option<How> {
        let is_deep = world.threads[me].stack.len() >= DEEP;
        match act {
            Act::Return(how) => return world.in_call(me).then_some(How::of(how)),
            Act::Stop(side) => {
                let mut world = world;
                world.stop(side.into());
                drop(world);
                drop(self.arrive(me));
            }
            _ if is_deep => {}
            Act::Add(source, is_polled) => self.add(world, me, source, is_polled),
            Act::Remove(handler) => self.take(world, me, handler, Then::Remove),
            Act::Pause(handler) => self.take(world, me, handler, Then::Pause),
            Act::Resume(handler) => self.resume(world, me, handler),
            Act::Kick(source, count) => self.kick(world, me, source.into(), count % 4 + 1),
            Act::Work(handler) => self.work_for(world, me, handler),
            Act::Arm(handler, moment) => {
                let mut world = world;
                if let Some(handler) = world.pick_polled(handler)
                    && !world.is_out(handler)
                {
                    world.handlers[handler].armed = Some(moment);
                }
            }
            Act::Turn(side) => self.run_side(world, me, side.into(), RunKind::Turn),
            Act::Poll(side) => self.run_side(world, me, side.into(), RunKind::Poll),
            Act::Run(side) => self.run_side(world, me, side.into(), RunKind::UntilStopped),
            Act::Odd(Odd::Consume(source)) => consume(world, source.into()),
            Act::Odd(Odd::HangUp(source)) => self.hang_up(world, me, source),
            Act::Odd(Odd::Renew(side)) => self.renew(world, me, side.into()),
            Act::Odd(Odd::Foreign(handler)) => foreign(world, handler),
        }
        None
    }

    fn add(self: &Arc<Self>, mut world: Guard<'_>, me: usize, source: u8, is_polled: bool) {
        let source = usize::from(source) % SOURCES;
        let side = source % 2;
        let is_polled = is_polled && matches!(world.sources[source].kind, SourceKind::Notifier(_));
        let lives = world
            .handlers
            .iter()
            .filter(|entry| entry.state != State::Gone);
        let run = world.dispatchers[side].run.as_ref();
        let waits = run.is_some_and(|run| run.kind == RunKind::UntilStopped);
        if lives.count() >= HANDLERS || waits && is_polled || world.is_other_out(source, None) {
            return;
        }
        let is_gone = world.dispatchers[side].dispatcher.is_none();
        let is_watched = world.watcher(source).is_some();
        let is_refused = is_gone || is_watched;
        let of = &world.dispatchers[side];
        let (handle, generation) = (of.handle.clone(), of.generation);
        let kind = match &world.sources[source].kind {
            SourceKind::Notifier(notifier) => SourceKind::Notifier(Arc::clone(notifier)),
            SourceKind::Socket(socket, _) => SourceKind::Socket(Arc::clone(socket), None),
        };
        let number = world.handlers.len();
        let entry = Entry::new(side, generation, handle.clone(), source, is_polled);
        world.handlers.push(entry);
        if is_refused {
            world.handlers[number].state = State::Gone;
        }
        // Also if it is refused.
        world.dispatchers[side].has_polled |= is_polled && !is_gone;
        world.expect_due();
        drop(world);
        let added = add(&handle, &kind, is_polled, Own::new(self, number));
        let mut world = self.arrive(me);
        match added {
            Ok(token) => {
                world.handlers[number].token = Some(token);
                world.check(!is_refused, || "two handlers of a source".into());
            }
            Err(error) => {
                let is_right = match error {
                    Error::Gone => is_gone,
                    Error::AlreadyAdded { .. } => is_watched && !is_gone,
                    _ => false,
                };
                world.check(is_right, || format!("add: {error}"));
            }
        }
    }

    fn resume(self: &Arc<Self>, mut world: Guard<'_>, me: usize, handler: u8) {
        let Some(handler) = world.pick(handler) else {
            return;
        };
        let (source, state) = (
            world.handlers[handler].source,
            world.handlers[handler].state,
        );
        if world.is_other_out(source, Some(handler)) {
            return;
        }
        let is_gone = world.is_dispatcher_gone(handler);
        let other = world.watcher(source).is_some_and(|other| other != handler);
        let sleeps = matches!(state, State::Paused | State::Out(_, Then::Pause));
        if !is_gone && sleeps && !other {
            world.handlers[handler].state = match state {
                State::Out(by, _) => State::Out(by, Then::Ready),
                _ => State::Ready,
            };
        }
        let no_handler = matches!(state, State::Gone | State::Out(_, Then::Remove));
        let Some((handle, token)) = world.handle_and_token(handler) else {
            return;
        };
        world.expect_due();
        drop(world);
        let resumed = handle.resume(token);
        let mut world = self.arrive(me);
        let is_right = match &resumed {
            Ok(()) => !(is_gone || no_handler || sleeps && other),
            Err(Error::Gone) => is_gone,
            Err(Error::NoHandler { .. }) => no_handler && !is_gone,
            Err(Error::AlreadyAdded { .. }) => sleeps && other && !is_gone,
            Err(_) => false,
        };
        world.check(is_right, || format!("resume of {state:?}: {resumed:?}"));
    }

    fn kick(self: &Arc<Self>, mut world: Guard<'_>, me: usize, source: usize, count: u8) {
        let source = &mut world.sources[source % SOURCES];
        if source.is_hung_up {
            return;
        }
        source.count += u64::from(count);
        // In one write, which a handler on another thread sees whole.
        let written = match &source.kind {
            SourceKind::Notifier(notifier) => {
                let notifier = Arc::clone(notifier);
                world.expect_due();
                drop(world);
                notifier.add(NonZeroU64::from(
                    NonZeroU64::MIN.saturating_add(u64::from(count) - 1),
                ))
            }
            SourceKind::Socket(_, peer) => {
                let mut peer = peer.as_ref().and_then(|peer| peer.try_clone().ok());
                world.expect_due();
                drop(world);
                let bytes = &[0; 4][..count.into()];
                let written = peer.as_mut().map(|peer| peer.write_all(bytes));
                Ok(written.is_some_and(|written| written.is_ok()))
            }
        };
        let mut world = self.arrive(me);
        world.check(matches!(written, Ok(true)), || "it was not written".into());
    }

    /// The driver's side of a ring.
    fn work_for(self: &Arc<Self>, mut world: Guard<'_>, me: usize, handler: u8) {
        let Some(handler) = world.pick_polled(handler) else {
            return;
        };
        let entry = &mut world.handlers[handler];
        entry.work.0 += 1;
        if !entry.is_suppressed {
            let source = entry.source;
            self.kick(world, me, source, 1);
        }
    }

    fn hang_up(self: &Arc<Self>, mut world: Guard<'_>, me: usize, source: u8) {
        let source = SOURCES - 1 - usize::from(source % 2);
        let source = &mut world.sources[source];
        source.is_hung_up = true;
        if let SourceKind::Socket(_, peer) = &mut source.kind {
            let peer = peer.take();
            world.expect_due();
            drop(world);
            drop(peer);
            drop(self.arrive(me));
        }
    }
}

/// Other code takes the signals.
fn consume(mut world: Guard<'_>, source: usize) {
    let source = source % SOURCES;
    let is_watched = world.watcher(source).is_some();
    match &world.sources[source].kind {
        SourceKind::Notifier(notifier) => {
            let mut all = None;
            while let Ok(Some(count)) = notifier.consume() {
                *all.get_or_insert(0) += count.get();
            }
            world.take(source, all, "the counter");
        }
        // Else the handler may be called for what was there.
        SourceKind::Socket(socket, _) if !is_watched => {
            let read = (&mut &**socket).read(&mut [0; 4096]).ok();
            let expected = std::mem::take(&mut world.sources[source].count);
            let is_right = read.is_none_or(|read| read as u64 == expected);
            world.check(is_right && (read.is_some() || expected == 0), || {
                format!("{read:?} bytes read, not {expected}")
            });
        }
        SourceKind::Socket(..) => {}
    }
}

/// The other dispatcher refuses the token.
fn foreign(mut world: Guard<'_>, handler: u8) {
    let Some(handler) = world.pick(handler) else {
        return;
    };
    let Some((_, token)) = world.handle_and_token(handler) else {
        return;
    };
    let other = world.dispatchers[1 - world.handlers[handler].side]
        .handle
        .clone();
    let refused = [other.remove(token).map(drop), other.resume(token)];
    let is_right = refused
        .iter()
        .all(|one| matches!(one, Err(Error::OtherDispatcher { .. })));
    world.check(is_right, || format!("{refused:?}"));
}

impl World {
    /// One of the last few handlers that were added.
    pub(super) fn pick(&self, number: u8) -> Option<usize> {
        let all = self.handlers.len();
        let few = all.min(12);
        let picked = all.checked_sub(1 + usize::from(number).checked_rem(few)?)?;
        self.handlers[picked].token.map(|_| picked)
    }

    /// One of the handlers that can be polled.
    fn pick_polled(&self, number: u8) -> Option<usize> {
        let is_polled = |handler: &usize| {
            let entry = &self.handlers[*handler];
            entry.is_polled && entry.state != State::Gone && entry.token.is_some()
        };
        let mut all: Vec<_> = (0..self.handlers.len()).filter(is_polled).collect();
        let picked = usize::from(number).checked_rem(all.len())?;
        Some(all.swap_remove(picked))
    }

    /// Whether the thread's innermost activity is a call.
    pub(super) fn in_call(&self, me: usize) -> bool {
        self.threads[me].stack.last() == Some(&Activity::Call)
    }

    pub(super) fn stop(&mut self, side: usize) {
        let is_gone = self.dispatchers[side].dispatcher.is_none();
        self.dispatchers[side].stop |= !is_gone;
        self.expect_due();
        let stopped = self.dispatchers[side].handle.stop();
        self.check(stopped.is_ok(), || format!("stop: {stopped:?}"));
    }

    /// A dispatcher that has something to do again comes back by itself.
    pub(super) fn expect_due(&mut self) {
        for thread in 0..self.threads.len() {
            if self.threads[thread].place == Place::Free
                && let Some(Activity::Run(side, _)) = self.threads[thread].stack.last()
                && self.is_side_due(*side)
            {
                self.threads[thread].place = Place::Expected;
            }
        }
    }
}

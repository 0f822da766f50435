// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Removals and pauses, which may wait for another thread.

use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use notify_core::dispatcher::{DispatcherHandle, Error, Token};

use super::baton::{Activity, Baton, Guard, Place, Taken, Wait};
use super::model::{Entry, State, Then, World};
use super::step::Moment;

/// What a removal or a pause has to do.
enum Plan {
    /// It fails.
    Fails,
    /// It is inside the handler's own call.
    Own,
    /// It takes the handler, and carries out the change itself.
    Takes,
    Waits(Wait),
}

impl Baton {
    /// Removes or pauses a handler.
    pub(super) fn take(self: &Arc<Self>, mut world: Guard<'_>, me: usize, number: u8, then: Then) {
        let Some(handler) = world.pick(number) else {
            return;
        };
        let Some((handle, token)) = world.handle_and_token(handler) else {
            return;
        };
        let Some(plan) = world.plan(me, handler, then) else {
            return;
        };
        let call = || -> Taken {
            catch_unwind(AssertUnwindSafe(|| match then {
                Then::Remove => handle.remove(token),
                _ => handle.pause(token),
            }))
        };
        let entry = &mut world.handlers[handler];
        if matches!(plan, Plan::Takes) && entry.is_suppressed && number >= 128 {
            // Rarely armed by itself just then.
            entry.armed = Some(Moment::End);
        }
        world.threads[me].stack.push(Activity::Takes);
        if let Plan::Waits(wait) = plan {
            world.threads[me].wait = Some(wait);
            self.pass(world, me, Place::Blocked);
            let taken = call();
            // The thread that has the baton compares the result.
            drop(self.arrive_with(me, |world| {
                world.threads[me].stack.pop();
                world.threads[me].result = Some(taken);
            }));
            return;
        }
        drop(world);
        let mut taken = Some(call());
        if matches!(plan, Plan::Takes) && then == Then::Pause {
            let mut world = self.lock();
            world.end_pause(me, handler, taken.take());
        }
        let mut world = self.arrive(me);
        world.threads[me].stack.pop();
        let Some(taken) = taken else {
            return;
        };
        if world.is_over {
            return;
        }
        match plan {
            Plan::Takes => world.end_remove(handler, taken),
            Plan::Own => {
                let source = world.handlers[handler].source;
                let own_look = world.handlers[handler].has_begun;
                if own_look && world.sources[source].count == 0 {
                    world.sources[source].may_have_one = true;
                }
                world.take_result(source, taken, "of its own");
            }
            Plan::Fails | Plan::Waits(_) => world.expect_no_handler(handler, &taken),
        }
    }
}

impl World {
    pub(super) fn handle_and_token(&self, handler: usize) -> Option<(DispatcherHandle, Token)> {
        let entry = &self.handlers[handler];
        Some((entry.handle.clone(), entry.token?))
    }

    pub(super) fn is_dispatcher_gone(&self, handler: usize) -> bool {
        let entry = &self.handlers[handler];
        let side = &self.dispatchers[entry.side];
        side.dispatcher.is_none() || side.generation != entry.generation
    }

    /// Makes the change, as far as it takes effect at once. `None` if it is left out.
    fn plan(&mut self, me: usize, handler: usize, then: Then) -> Option<Plan> {
        if self.is_dispatcher_gone(handler) {
            return Some(Plan::Fails);
        }
        let entry = &self.handlers[handler];
        let may_owe = entry.state == State::Ready && !entry.is_suppressed;
        let (state, plan) = match entry.state {
            State::Gone => return Some(Plan::Fails),
            State::Paused if then == Then::Pause => (State::Paused, Plan::Takes),
            State::Ready | State::Paused => (State::Out(me, then), Plan::Takes),
            State::Out(by, Then::Remove) if by == me => return Some(Plan::Fails),
            State::Out(by, _) if by == me => (State::Out(by, then), Plan::Own),
            // It would wait for a thread that waits for it.
            State::Out(by, _) if self.waits_for(by, me) => return None,
            State::Out(by, before) => {
                let is_going = before == Then::Remove;
                let wait = Wait {
                    handler,
                    removes: then == Then::Remove && !is_going,
                    until_gone: then == Then::Remove || is_going,
                };
                let then = if is_going { before } else { then };
                (State::Out(by, then), Plan::Waits(wait))
            }
        };
        self.handlers[handler].state = state;
        if may_owe {
            self.leave_look(handler, false);
        }
        Some(plan)
    }

    /// Whether a thread waits for another one, perhaps through a third.
    fn waits_for(&self, thread: usize, other: usize) -> bool {
        let wait = self.threads[thread]
            .wait
            .map(|wait| self.handlers[wait.handler].state);
        match wait {
            Some(State::Out(by, _)) => by == other || self.waits_for(by, other),
            _ => false,
        }
    }

    fn take_result(&mut self, source: usize, taken: Taken, what: &str) {
        match taken {
            Ok(Ok(count)) => self.take(source, count.map(NonZeroU64::get), what),
            Ok(Err(error)) => self.fail(format!("{what}: {error}")),
            Err(_) => self.fail(format!("{what}: it panicked")),
        }
    }

    fn expect_no_handler(&mut self, handler: usize, taken: &Taken) {
        let is_right = match taken {
            Ok(Err(Error::Gone)) => self.is_dispatcher_gone(handler),
            Ok(Err(Error::NoHandler { token, .. })) => {
                !self.is_dispatcher_gone(handler) && self.handlers[handler].token == Some(*token)
            }
            _ => false,
        };
        self.check(is_right, || format!("no handler {handler}: {taken:?}"));
    }

    /// This thread has paused a handler. Those that have waited for it share what is pending.
    fn end_pause(&mut self, me: usize, handler: usize, taken: Option<Taken>) {
        if self.is_over {
            return;
        }
        if self.handlers[handler].state == State::Out(me, Then::Pause) {
            self.give_back(handler);
        }
        let has_panicked = matches!(taken, Some(Err(_)));
        // The panic of a drop is logged.
        let may_panic = self.handlers[handler].has_end_panicked;
        self.check(has_panicked == may_panic, || format!("pause: {taken:?}"));
        if !has_panicked {
            self.threads[me].result = taken;
            self.threads[me].wait = Some(Wait {
                handler,
                removes: false,
                until_gone: false,
            });
        }
    }

    /// This thread has removed a handler.
    fn end_remove(&mut self, handler: usize, taken: Taken) {
        let Entry { source, state, .. } = self.handlers[handler];
        if self.handlers[handler].has_panicked {
            return self.check(taken.is_err(), || "it did not panic".into());
        }
        let is_gone = state == State::Gone;
        self.check(is_gone, || {
            format!("handler {handler} is not dropped: {state:?}")
        });
        self.take_result(source, taken, "removed");
    }

    /// Compares the results of all threads that waited.
    pub(super) fn compare_waits(&mut self) {
        // Several pauses share what is pending.
        let mut shared: Vec<(usize, u64)> = Vec::new();
        for thread in 0..self.threads.len() {
            let thread = &mut self.threads[thread];
            let Some(taken) = thread.result.take() else {
                continue;
            };
            let Some(Wait {
                handler, removes, ..
            }) = thread.wait.take()
            else {
                return self.fail("a result without a wait");
            };
            let Entry { state, source, .. } = self.handlers[handler];
            match (state, taken) {
                (State::Gone, taken) if removes => self.take_result(source, taken, "waited"),
                (State::Gone, taken) => self.expect_no_handler(handler, &taken),
                (State::Paused, Ok(Ok(taken))) => {
                    let taken = taken.map_or(0, NonZeroU64::get);
                    match shared.iter_mut().find(|one| one.0 == handler) {
                        Some(one) => one.1 += taken,
                        None => shared.push((handler, taken)),
                    }
                }
                (State::Ready | State::Out(..), Ok(Ok(None))) if !removes => {}
                (state, taken) => self.fail(format!("handler {handler}: {state:?}, {taken:?}")),
            }
        }
        for (handler, taken) in shared {
            let source = self.handlers[handler].source;
            self.take(source, (taken > 0).then_some(taken), "paused");
        }
    }
}

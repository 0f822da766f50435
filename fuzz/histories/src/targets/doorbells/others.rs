// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What happens beside the sets: windows, single doorbells, and code that deregisters theirs.

use std::sync::Arc;

use ioeventfd::{Error, IoEventFd, Window};

use super::plans::check_refusal;
use super::rig::{OWN, Rig};
use super::spot::address;
use super::step::{Choice, SINGLES, slot};

impl Rig {
    pub(super) fn reserve(&self, at: u8, size: u8) {
        let mut world = self.machine.world();
        // Windows are never released, and some doorbells must stay possible.
        if world.windows.len() == 2 {
            return;
        }
        let (pio, start) = slot(at);
        let start = start + u64::from(size >> 6);
        let size = u64::from(size % 4);
        let window = (pio, start, size);
        let refused = world.claimed().iter().any(|spot| spot.is_in(window));
        let reserved = self
            .registry
            .reserve(Window::new(address(pio, start), size, "a device"));
        match reserved {
            Ok(()) => {
                assert!(!refused, "a doorbell is there");
                world.windows.push(window);
            }
            Err(error) => check_refusal(&error, true, refused),
        }
    }

    pub(super) fn lose(&self, which: u8) {
        let mut world = self.machine.world();
        if world.kernel.is_empty() {
            return;
        }
        world.faults.clear();
        let index = usize::from(which) % world.kernel.len();
        let (spot, fd) = world.kernel.remove(index);
        world.lost.push((spot, fd));
        self.machine.deregister(spot, &self.notifiers[fd]);
    }

    pub(super) fn single(&mut self, choice: Choice) {
        let spot = choice.single();
        if self.singles.len() == SINGLES || !spot.exists() {
            return;
        }
        self.machine.world().calls.clear();
        let builder = IoEventFd::builder(self.machine.clone(), spot.address(), spot.datamatch());
        let assigned = builder.notifier(Arc::clone(&self.notifiers[OWN])).assign();
        let mut world = self.machine.world();
        let calls = std::mem::take(&mut world.calls);
        assert_eq!(
            (calls.len(), calls[0].spot, calls[0].assign),
            (1, spot, true)
        );
        assert_eq!(assigned.is_ok(), calls[0].errno.is_none());
        match assigned {
            Ok(single) => {
                world.singles.push((spot, OWN));
                self.singles.push(single);
            }
            Err(rejected) => {
                let taken = matches!(rejected.error, Error::Taken { .. });
                assert_eq!(taken, calls[0].errno == Some(17), "{rejected}");
            }
        }
    }

    pub(super) fn no_single(&mut self, which: u8) {
        if self.singles.is_empty() {
            return;
        }
        let index = usize::from(which) % self.singles.len();
        let single = self.singles.remove(index);
        let key = self.machine.world().singles.remove(index);
        self.machine.world().calls.clear();
        let deassigned = single.deassign();
        let calls = std::mem::take(&mut self.machine.world().calls);
        assert_eq!(
            (calls.len(), calls[0].spot, calls[0].assign),
            (1, key.0, false)
        );
        assert_eq!(deassigned.is_ok(), calls[0].counts());
        if let Err(rejected) = deassigned {
            assert!(
                matches!(rejected.error, Error::StaysRegistered { .. }),
                "{rejected}"
            );
            self.machine.world().singles.push(key);
            self.singles.push(rejected.value);
        }
    }
}

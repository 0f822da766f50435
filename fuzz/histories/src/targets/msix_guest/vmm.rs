// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Operations of the VMM on vectors, on code and model.

use std::sync::Arc;

use irqfd::{VectorError, VectorState, msix};
use notify_core::EventNotifier;

use super::line::Arm;
use super::step::Vmm;
use super::world::{World, gsi};

/// The most notifiers that are handed out of one VM, or into it.
const NOTIFIERS: usize = 40;

impl World {
    pub(super) fn vmm_step(&mut self, step: &Vmm) {
        match *step {
            Vmm::Export(n) => self.export(self.line(n)),
            Vmm::ExportAll(table) => {
                let lines = match table {
                    true => self.model.table(),
                    false => self.model.check_extension(),
                };
                for n in lines {
                    self.export(n);
                    self.compare();
                }
            }
            Vmm::Unexport(n) => {
                let n = self.line(n);
                let result = self.vector(n).unexport();
                self.model.unexport(n);
                let opened = self.model.direct.contains(&n) || self.model.tried.contains(&n);
                let is_dead = matches!(self.vector(n).state(), VectorState::Dead(_));
                assert_eq!(result.is_err(), opened && is_dead, "{result:?}");
            }
            Vmm::Take(n) => {
                let n = self.line(n);
                let taken = self.vector(n).take_notifier();
                match (taken, self.model.lines[n].shared()) {
                    (None, None) => {}
                    (Some(taken), Some(at)) => {
                        assert!(Arc::ptr_eq(&taken, &self.notifiers[&at]));
                    }
                    (taken, _) => panic!("{taken:?}"),
                }
                self.model.take_notifier(n);
            }
            Vmm::Replace(n) => {
                if self.notifiers.len() < NOTIFIERS {
                    let new = self.model.add_notifier();
                    let notifier = EventNotifier::new().unwrap();
                    self.notifiers.insert(new, Arc::new(notifier));
                    self.replace_notifier(self.line(n), new);
                }
            }
            Vmm::Share(n, with) => {
                if let Some(new) = self.notifier(with) {
                    self.share(self.line(n), new);
                }
            }
            Vmm::Semaphore(n) => {
                let semaphore = EventNotifier::builder().semaphore(true).build().unwrap();
                let result = self
                    .vector(self.line(n))
                    .replace_notifier(Arc::new(semaphore));
                assert!(result.is_err(), "a semaphore was taken");
            }
            Vmm::Bind(queue, number) => {
                let vectors = self.model.msix.vectors() as u16;
                let number = if number % 8 == 7 {
                    number
                } else {
                    number % (vectors + 2)
                };
                let expected = if number < vectors {
                    number
                } else {
                    msix::NO_VECTOR
                };
                let queue = &self.queues[usize::from(queue % 2)];
                assert_eq!(queue.bind(number), expected);
                assert_eq!(queue.number(), expected);
            }
            Vmm::Unbind(queue) => {
                let queue = &self.queues[usize::from(queue % 2)];
                queue.bind(msix::NO_VECTOR);
                assert_eq!(queue.number(), msix::NO_VECTOR);
            }
            Vmm::Hold => drop(self.hold()),
            Vmm::HoldAll => while self.hold() {},
            Vmm::Release => {
                if let Some(lease) = self.held.pop() {
                    self.model.release(gsi(lease.gsi()));
                }
            }
            Vmm::Lease(n) => self.give_lease(self.line(n)),
            Vmm::Devid(table, id) => self.set_devid(table, (id % 3).checked_sub(1).map(u32::from)),
        }
    }

    fn export(&mut self, n: usize) {
        let line = self.model.lines[n].clone();
        if line.shared().is_none() && self.notifiers.len() >= NOTIFIERS {
            return;
        }
        let notifier = self.vector(n).export().unwrap();
        if let Some(at) = line.shared() {
            return assert!(Arc::ptr_eq(&notifier, &self.notifiers[&at]));
        }
        let own = line.notifier();
        let at = own.unwrap_or_else(|| self.model.add_notifier());
        self.notifiers.insert(at, notifier);
        self.model.export(n, at);
    }

    fn replace_notifier(&mut self, n: usize, new: usize) {
        let notifier = Arc::clone(&self.notifiers[&new]);
        let result = self.vector(n).replace_notifier(notifier);
        let line = self.model.lines[n].clone();
        match line.notifier() {
            None => {
                assert!(result.is_ok(), "{result:?}");
                self.model.export(n, new);
            }
            Some(old) if old == new => assert!(result.is_ok(), "{result:?}"),
            Some(_) if line.arm == Arm::Armed => {
                assert_eq!(result.is_ok(), self.model.swap(n, new), "{result:?}");
            }
            Some(_) => {
                assert!(result.is_ok(), "{result:?}");
                self.model.exchange(n, new);
            }
        }
        match (result, line.shared()) {
            (Ok(None), None) => {}
            (Ok(Some(before)), Some(old)) => {
                assert!(Arc::ptr_eq(&before, &self.notifiers[&old]));
            }
            (Ok(before), _) => panic!("{before:?} was handed out"),
            (Err(rejected), _) => {
                assert!(Arc::ptr_eq(&rejected.value, &self.notifiers[&new]));
            }
        }
    }

    /// Offers a vector an existing notifier. The vector must not get one that is bound elsewhere or
    /// belongs to another vector. The simulator takes signals only at its next call, so until then
    /// the vector would find the other's signal. (KVM takes it in the write.) So such a notifier is
    /// offered only if it is bound and the vector is armed, because then it is refused.
    fn share(&mut self, n: usize, new: usize) {
        let lines = self.model.lines.iter().enumerate();
        let mut others = lines.filter(|(other, _)| *other != n);
        let bound = self.model.is_bound(new);
        let is_elsewhere = bound || others.any(|(_, line)| line.notifier() == Some(new));
        let is_own = self.model.lines[n].notifier() == Some(new);
        let is_refused = bound && self.model.lines[n].arm == Arm::Armed;
        if is_own || !is_elsewhere || is_refused {
            self.replace_notifier(n, new);
        }
    }

    /// Another device takes a GSI, if there is one.
    fn hold(&mut self) -> bool {
        let lease = self.routing.lease().ok();
        let found = lease.as_ref().map(|lease| gsi(lease.gsi()));
        assert_eq!(found, self.model.hold(), "the GSI of another device");
        self.held.extend(lease);
        found.is_some()
    }

    /// A vector gets a GSI that another device has, unless it is armed or about to be.
    fn give_lease(&mut self, n: usize) {
        let Some(lease) = self.held.pop() else {
            return;
        };
        let is_taken = self.model.give(n, gsi(lease.gsi()));
        let table = self.model.table();
        let result = match table.contains(&n) {
            true => self.table.set_lease(n as u16, lease),
            false => self.msi.set_lease((n - table.len()) as u16, lease),
        };
        assert_eq!(result.is_ok(), is_taken, "{result:?}");
        if let Err(rejected) = result {
            assert!(matches!(rejected.error, VectorError::InUse), "{rejected:?}");
            self.held.push(rejected.value);
        }
    }

    fn set_devid(&mut self, table: bool, devid: Option<u32>) {
        let dead = match table {
            true => self.table.set_devid(devid),
            false => self.msi.set_devid(devid),
        };
        self.access(dead);
        self.model.devids[usize::from(!table)] = devid;
        for n in self.range(table) {
            let line = &self.model.lines[n];
            let (address, data, was) = line.sends;
            if line.open && was != devid {
                self.model.retarget(n, (address, data, devid));
            }
        }
    }
}

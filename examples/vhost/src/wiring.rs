// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Wiring`]: the eventfds between the guest and its device, on the side of KVM.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ioeventfd::{
    AfterExit, Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, Epoch, IoAddress, Width,
};
use irq_routing::RoutingTable;
use irqfd::msix::{BindCallError, Binding, Table};
use notify_core::{EventNotifier, NotifierPair, Vm};

use crate::guest::QUEUES;
use crate::registers::{ENTRIES, NOTIFY, PLACE, PLACES};
use crate::saved::{SavedQueue, SavedTable, SavedWiring};

/// The doorbells and the MSI-X table of a device. Both outlive each back-end; their eventfds may be
/// replaced.
#[derive(Debug)]
pub struct Wiring {
    doorbells: DoorbellSet,
    table: Table,
    queues: [Binding; QUEUES],
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The address of the doorbells.
    place: u64,
    /// By queue.
    kicks: Vec<Arc<EventNotifier>>,
    /// The last change of the doorbells.
    epoch: Option<Epoch>,
}

impl Wiring {
    /// No doorbells yet, and a table after a reset, with all vectors exported.
    ///
    /// # Errors
    ///
    /// Those of the VM.
    pub fn new(vm: Arc<dyn Vm>) -> Result<Self, Box<dyn Error>> {
        let routing = RoutingTable::new(Arc::clone(&vm))?;
        let table = Table::builder(&routing).vectors(ENTRIES.into()).build()?;
        for vector in table.vectors() {
            vector.export()?;
        }
        let _ = table.set_control(true, false);
        let [place, _] = PLACES;
        Ok(Self {
            doorbells: DoorbellSet::new(&DoorbellRegistry::new(vm, &[])),
            queues: [Binding::new(&table), Binding::new(&table)],
            table,
            state: Mutex::new(State {
                place,
                kicks: Vec::new(),
                epoch: None,
            }),
        })
    }

    /// The MSI-X table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Gives every queue a new kick and every vector a new notifier. Kicks and calls that are in
    /// the old ones go to the new ones.
    ///
    /// No back-end may use the old ones: a kick that it is about to read would go to both.
    ///
    /// # Errors
    ///
    /// Those of the VM.
    pub fn renew(&self) -> Result<(), Box<dyn Error>> {
        for vector in self.table.vectors() {
            let replaced = vector.replace_notifier(Arc::new(EventNotifier::new()?));
            replaced.map_err(|rejected| rejected.error)?;
        }
        let kicks =
            (0..QUEUES).map(|_| Ok::<_, notify_core::Error>(Arc::new(EventNotifier::new()?)));
        let kicks = kicks.collect::<Result<Vec<_>, _>>()?;
        let mut state = self.lock();
        let doorbells = (0..).zip(&kicks).map(|(queue, kick)| {
            let address = IoAddress::Mmio(state.place + queue * NOTIFY);
            let width = Datamatch::Width(Width::W2);
            Doorbell::new(queue, address, width, Arc::clone(kick))
        });
        let plan = self.doorbells.plan(doorbells)?;
        let changed = self.doorbells.apply(plan);
        state.epoch = Some(changed.map_err(|rejected| rejected.error)?);
        state.kicks = kicks;
        Ok(())
    }

    /// A queue's kick and call.
    ///
    /// # Errors
    ///
    /// If the queue has no kick yet, and those of the VM.
    pub fn pair(&self, queue: usize) -> Result<NotifierPair, Box<dyn Error>> {
        self.pair_with(queue, self.binding(queue)?.call()?)
    }

    /// The pairs of all queues.
    ///
    /// # Errors
    ///
    /// As for [`pair`](Self::pair).
    pub fn pairs(&self) -> Result<Vec<NotifierPair>, Box<dyn Error>> {
        (0..QUEUES).map(|queue| self.pair(queue)).collect()
    }

    /// Sets which entry of the table a queue uses, or that it uses none. A back-end that runs must
    /// get the new pair, by `set_pair`.
    ///
    /// # Errors
    ///
    /// As for [`pair`](Self::pair), and those of `set_pair`.
    pub fn bind(
        &self,
        queue: usize,
        entry: u16,
        set_pair: impl FnOnce(NotifierPair) -> Result<(), Box<dyn Error>>,
    ) -> Result<(), Box<dyn Error>> {
        let set_call =
            |call: &Arc<EventNotifier>| set_pair(self.pair_with(queue, Arc::clone(call))?);
        match self.binding(queue)?.bind_call(entry, set_call) {
            Ok(_) => Ok(()),
            Err(BindCallError::Call(error)) => Err(error.into()),
            Err(BindCallError::SetCall(error)) => Err(error),
            Err(error) => Err(error.to_string().into()),
        }
    }

    /// The guest moves the BAR with the doorbells to the first or to the second place.
    ///
    /// # Errors
    ///
    /// Those of the VM.
    pub fn move_bar(&self, place: u16) -> Result<(), Box<dyn Error>> {
        let to = PLACES.get(usize::from(place));
        let to = *to.ok_or_else(|| format!("there is no place {place} for the BAR"))?;
        let mut state = self.lock();
        let (from, to_address) = (IoAddress::Mmio(state.place), IoAddress::Mmio(to));
        state.epoch = Some(self.doorbells.relocate(from, PLACE, to_address)?);
        state.place = to;
        Ok(())
    }

    /// Signals a kick that exited because its doorbell was being changed. Returns whether the write
    /// was such a kick.
    ///
    /// # Errors
    ///
    /// If the kick cannot be signalled.
    pub fn kicked(&self, address: u64, data: &[u8]) -> Result<bool, Box<dyn Error>> {
        let address = IoAddress::Mmio(address);
        Ok(self.doorbells.on_exit_write(address, data)? == AfterExit::Resume)
    }

    /// Call this when the only vCPU has exited, and the kick that it carried was taken: no older
    /// kick is in flight.
    ///
    /// # Errors
    ///
    /// Those of [`DoorbellSet::vcpus_passed`].
    pub fn vcpu_passed(&self) -> Result<(), ioeventfd::Error> {
        let epoch = self.lock().epoch.take();
        match epoch {
            Some(epoch) => self.doorbells.vcpus_passed(epoch),
            None => Ok(()),
        }
    }

    /// Pauses the table, and returns what another VM needs to go on. The vCPU and the back-end must
    /// have stopped. Read the local APIC after this: KVM may inject until the table is paused.
    ///
    /// # Errors
    ///
    /// Those of the VM.
    pub fn save(&self, number: u32) -> Result<SavedWiring, Box<dyn Error>> {
        self.table.pause();
        let [receive, transmit] = &self.queues;
        Ok(SavedWiring {
            table: SavedTable::new(&self.table.snapshot()?, number)?,
            place: self.lock().place,
            queues: [SavedQueue::of(receive)?, SavedQueue::of(transmit)?],
        })
    }

    /// Continues where another VM was saved. The table is paused until [`resume`](Self::resume).
    ///
    /// # Errors
    ///
    /// Those of the VM, and if the saved state cannot be read.
    pub fn restore(&self, saved: &SavedWiring) -> Result<(), Box<dyn Error>> {
        self.table.pause();
        let _ = self.table.restore(&saved.table.snapshot()?)?;
        self.lock().place = saved.place;
        for (queue, saved) in self.queues.iter().zip(&saved.queues) {
            saved.restore(queue)?;
        }
        self.renew()
    }

    /// Lets the table interrupt the guest again.
    ///
    /// # Errors
    ///
    /// If a vector cannot be armed.
    pub fn resume(&self) -> Result<(), Box<dyn Error>> {
        match self.table.resume().into_iter().next() {
            Some(dead) => Err(dead.to_string().into()),
            None => Ok(()),
        }
    }

    fn binding(&self, queue: usize) -> Result<&Binding, Box<dyn Error>> {
        let binding = self.queues.get(queue);
        binding.ok_or_else(|| format!("there is no queue {queue}").into())
    }

    fn pair_with(
        &self,
        queue: usize,
        call: Arc<EventNotifier>,
    ) -> Result<NotifierPair, Box<dyn Error>> {
        let kick = self.lock().kicks.get(queue).map(Arc::clone);
        let kick = kick.ok_or_else(|| format!("queue {queue} has no kick"))?;
        Ok(NotifierPair {
            host_notifier: kick,
            guest_notifier: call,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

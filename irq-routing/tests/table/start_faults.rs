// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A start that fails, or whose first commit fails: nothing has changed then.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use irq_routing::{EditOutcome, Error, Platform, RoutingTable, Wiring};
use kvm_test::{Call, Recorder};
use notify_core::{
    Extension, IoEventFdRequest, IrqFdRequest, LineStatus, MsiMessage, MsiOutcome, Retired,
    RouteBuffer, RoutingClaim, Vm,
};

use crate::message;

type Ask = dyn Fn() -> io::Result<Option<Platform>> + Send + Sync;

/// A [`Recorder`] whose platform a function returns, and which has a claim.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) vm: Recorder,
    ask: Mutex<Option<Arc<Ask>>>,
    claim: RoutingClaim,
    hidden: AtomicBool,
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl Told {
    pub(crate) fn ask(
        &self,
        ask: impl Fn() -> io::Result<Option<Platform>> + Send + Sync + 'static,
    ) {
        *self.ask.lock().unwrap() = Some(Arc::new(ask));
    }

    pub(crate) fn hide_claim(&self, hidden: bool) {
        self.hidden.store(hidden, Ordering::Relaxed);
    }
}

/// It has a full irqchip by default.
impl Vm for Told {
    fn check_extension(&self, capability: Extension) -> io::Result<u32> {
        self.vm.check_extension(capability)
    }
    fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
        self.vm.irqfd(request)
    }
    fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
        self.vm.ioeventfd(request)
    }
    fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
        self.vm.set_gsi_routing(table)
    }
    fn signal_msi(&self, message: &MsiMessage) -> io::Result<MsiOutcome> {
        self.vm.signal_msi(message)
    }
    fn irq_line_status(&self, gsi: u32, level: bool) -> io::Result<LineStatus> {
        self.vm.irq_line_status(gsi, level)
    }
    fn platform(&self) -> io::Result<Option<Platform>> {
        let ask = self.ask.lock().unwrap().clone();
        ask.map_or(Ok(Some(Platform::X86)), |ask| ask())
    }
    fn routing_claim(&self) -> Option<&RoutingClaim> {
        (!self.hidden.load(Ordering::Relaxed)).then_some(&self.claim)
    }
}

/// A VM whose irqchip is created after the table.
pub(crate) fn early() -> (Arc<Told>, RoutingTable) {
    let vm = Arc::new(Told::default());
    vm.ask(|| Ok(None));
    let table = RoutingTable::new(vm.clone()).unwrap();
    vm.ask(|| Ok(Some(Platform::X86)));
    (vm, table)
}

/// How many entries the tables had that the kernel got since the last call.
pub(crate) fn sizes(vm: &Recorder) -> Vec<usize> {
    let size = |call| match call {
        Call::Routes(entries) => entries.len(),
        other => panic!("{other:?}"),
    };
    vm.take().into_iter().map(size).collect()
}

fn panics<T>(call: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

#[test]
fn a_vm_that_panics_when_it_is_asked_spoils_nothing() {
    let (vm, table) = early();
    vm.ask(|| panic!("a bug of the VM"));
    let lease = table.lease().unwrap();
    assert!(panics(|| lease.set_route(message(1))));
    assert!(panics(|| table.line(4)));
    assert!(panics(|| table.recommit()));
    let mut outcomes = Vec::new();
    assert!(panics(|| {
        table.commit_each([lease.edit(message(2))], |_, outcome| {
            outcomes.push(outcome)
        });
    }));
    assert!(matches!(outcomes[..], [EditOutcome::Panicked]));
    assert_eq!((table.routes(), table.leased()), (vec![], 1));
    assert_eq!(vm.vm.take(), []);
    vm.ask(|| Ok(Some(Platform::X86)));
    lease.set_route(message(3)).unwrap();
    assert_eq!(sizes(&vm.vm), [41]);
}

#[test]
fn a_first_commit_that_is_refused_or_panics_keeps_the_pins() {
    let (vm, table) = early();
    let lease = table.lease().unwrap();
    vm.vm.fail_after(0, crate::EINVAL);
    let error = lease.set_route(message(1)).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(lease.route(), None);
    vm.vm.on_routes(|_| panic!("a bug of the VM"));
    assert!(panics(|| lease.set_route(message(1))));
    assert!(panics(|| table.line(4)));
    assert_eq!(lease.route(), None);
    vm.vm.on_routes(|_| Ok(()));
    vm.vm.take();

    // No line is left, and the table is in the kernel before a line is returned.
    let line = table.line(5).unwrap();
    assert_eq!(sizes(&vm.vm), [40]);
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(4).unwrap());
    transaction.commit().unwrap();
    lease.set_route(message(1)).unwrap();
    assert_eq!(sizes(&vm.vm), [38, 39]);
    drop(line);
}

#[test]
fn a_line_whose_first_commit_is_refused_is_not_held() {
    let (vm, table) = early();
    vm.vm.fail_after(0, crate::EINVAL);
    assert!(matches!(table.line(4), Err(Error::Refused { .. })));
    let mut transaction = table.transaction();
    transaction.unwire(table.gsi(4).unwrap());
    transaction.commit().unwrap();
    assert_eq!(sizes(&vm.vm), [40, 38]);
}

#[test]
fn a_vm_that_is_closed_before_the_first_commit_says_so() {
    let (vm, table) = early();
    vm.ask(|| Err(Retired.into()));
    let error = table.lease_msi(message(1)).unwrap_err();
    assert!(matches!(error, Error::Retired), "{error}");
    table.flush().unwrap();
}

#[test]
fn a_vm_that_cannot_tell_now_may_tell_later() {
    let (vm, table) = early();
    let errno = |errno| move || Err(io::Error::from_raw_os_error(errno));
    vm.ask(errno(12)); // ENOMEM
    let error = table.recommit().unwrap_err();
    assert!(matches!(error, Error::Platform { .. }) && error.is_transient());
    vm.ask(errno(1)); // EPERM
    let error = table.recommit().unwrap_err();
    assert!(matches!(error, Error::Platform { .. }) && !error.is_transient());
}

/// The later of two edits takes effect, also if it was committed too early.
#[test]
fn an_edit_is_superseded_by_one_that_came_before_the_irqchip() {
    let (vm, table) = early();
    vm.ask(|| Ok(None));
    let lease = table.lease().unwrap();
    let [earlier, later] = [1, 2].map(|data| lease.edit(message(data)));
    let commit = |edits: &[_]| {
        let mut outcomes = Vec::new();
        table.commit_each(edits.iter().copied(), |_, outcome| outcomes.push(outcome));
        outcomes
    };
    let both = commit(&[earlier, later]);
    assert!(
        matches!(both[..], [EditOutcome::Superseded, EditOutcome::Failed(_)]),
        "{both:?}"
    );
    vm.ask(|| Ok(Some(Platform::X86)));
    assert!(matches!(commit(&[earlier])[..], [EditOutcome::Superseded]));
    assert!(matches!(commit(&[later])[..], [EditOutcome::Committed]));
}

/// Another thread asks first and decides first; it may have committed something since.
#[test]
fn the_start_is_decided_once() {
    let (vm, table) = early();
    let first = AtomicBool::new(true);
    let other = Mutex::new(Some(table.clone()));
    vm.ask(move || {
        if first.swap(false, Ordering::Relaxed) {
            let other = other.lock().unwrap().take().unwrap();
            let mut transaction = other.transaction();
            transaction.unwire(other.gsi(9).unwrap());
            transaction.commit().unwrap();
        }
        Ok(Some(Platform::X86))
    });
    let lease = table.lease_msi(message(1)).unwrap();
    assert_eq!(table.routes().len(), 23 + 1);
    assert_eq!(sizes(&vm.vm), [38, 39]);
    drop(lease);
}

#[test]
fn nothing_but_a_commit_decides_the_start() {
    let (vm, table) = early();
    vm.ask(|| Ok(Some(Platform::X86Split)));
    assert_eq!(table.platform(), Platform::X86Split);
    vm.ask(|| Ok(Some(Platform::X86)));
    assert_eq!(table.platform(), Platform::X86);
    vm.ask(|| panic!("not asked"));
    table.flush().unwrap();
    table.retranslate().unwrap();
    let lease = table.lease().unwrap();
    table.commit_each([], |_, _| {});
    assert_eq!((table.routes(), lease.route()), (vec![], None));
    assert_eq!(vm.vm.take(), []);
}

#[test]
fn leases_from_before_the_irqchip_keep_their_gsis() {
    let vm = Arc::new(Told::default());
    vm.ask(|| Ok(None));
    let builder = RoutingTable::builder(vm.clone()).reserved_gsis(0);
    let table = builder.build().unwrap();
    let lowest = table.lease().unwrap();
    let parked = table.lease_exact(4).unwrap().park();
    drop(table.lease_exact(5).unwrap());
    vm.ask(|| Ok(Some(Platform::X86)));
    table.recommit().unwrap();
    assert_eq!(sizes(&vm.vm), [36], "without GSIs 0 and 4");
    assert_eq!((lowest.gsi().number(), lowest.route()), (0, None));
    assert!(matches!(table.line(4), Err(Error::GsiInUse { .. })));
    drop(parked);
    assert!(matches!(table.line(4), Err(Error::NoRoute { .. })));
    drop(table.line(5).unwrap());
    assert_eq!(table.lease().unwrap().gsi().number(), 4);
}

#[test]
fn the_entries_of_the_pins_count() {
    let vm = Arc::new(Told::default());
    vm.vm.answer(Extension::IrqRouting, 42);
    let table = RoutingTable::new(vm.clone()).unwrap();
    let one = table.lease_msi(message(1)).unwrap();
    let two = table.lease_msi(message(2)).unwrap();
    let error = table.lease_msi(message(3)).unwrap_err();
    let (entries, limit) = (43, 42);
    assert!(
        matches!(error, Error::TableFull { entries: found, limit: of, .. }
            if (found, of) == (entries, limit)),
        "{error}"
    );
    let parked = two.park();
    let three = table.lease_msi(message(3)).unwrap();
    assert!(parked.unpark().is_none());
    assert_eq!(sizes(&vm.vm), [41, 42, 42]);
    drop((one, three));

    // A table without enough room for the pins commits nothing.
    let vm = Arc::new(Told::default());
    vm.vm.answer(Extension::IrqRouting, 39);
    let table = RoutingTable::new(vm.clone()).unwrap();
    let error = table.recommit().unwrap_err();
    assert!(matches!(error, Error::TableFull { entries: 40, .. }));
    assert_eq!(vm.vm.take(), []);
}

#[test]
fn another_platform_says_what_to_do() {
    let vm = Arc::new(Told::default());
    vm.vm
        .on_routes(|_| Err(io::Error::from_raw_os_error(crate::EINVAL)));
    vm.ask(|| Ok(Some(Platform::X86Split)));
    let builder = RoutingTable::builder(vm).wiring(Wiring::pc());
    let error = builder.build().unwrap().recommit().unwrap_err();
    assert!(matches!(error, Error::OtherPlatform { .. }));
    assert!(error.to_string().contains("RoutingTableBuilder::wiring"));
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every ioctl of every operation fails once, and afterwards the state must be as before.

use std::sync::Arc;

use irq_routing::{MsiMessage, RoutingTable};
use irqfd::{EoiExits, LevelIrq, LevelLine};
use notify_sim::{CallKind, SimVm};

use super::bench::{self, GSI, edge, level};
use super::{exported, heard, notifier, own, signal, told};

const KINDS: [CallKind; 4] = [
    CallKind::SetGsiRouting,
    CallKind::IrqFdAssign,
    CallKind::IrqFdDeassign,
    CallKind::IrqLine,
];
const VECTOR: u8 = 0x52;

/// A line with devices on it.
pub(super) struct Bench {
    pub(super) vm: Arc<SimVm>,
    table: RoutingTable,
    pub(super) line: LevelLine,
    exits: Option<EoiExits>,
    pub(super) disk: LevelIrq,
    pub(super) net: LevelIrq,
    pub(super) card: LevelIrq,
    pub(super) nic: LevelIrq,
}

impl Bench {
    fn new(
        (vm, table, line): (Arc<SimVm>, RoutingTable, LevelLine),
        exits: Option<EoiExits>,
    ) -> Self {
        let (disk, net, card, nic) = (own(&line), told(&line), exported(&line), exported(&line));
        Self {
            vm,
            table,
            line,
            exits,
            disk,
            net,
            card,
            nic,
        }
    }

    pub(super) fn pc() -> Self {
        Self::new(bench::pc(), None)
    }

    pub(super) fn masked() -> Self {
        let (vm, table, line, exits) = bench::split();
        Self::new((vm, table, line), Some(exits))
    }

    pub(super) fn open() -> Self {
        let bench = Self::masked();
        bench.line.redirect(level(VECTOR), false).unwrap();
        bench
    }

    /// The state of the line and of the VM. For a masked entry the route in the kernel does not
    /// matter.
    fn state(&self) -> String {
        let line = format!("{:?}", self.line);
        let (before, after) = line.split_once("committed: ").unwrap_or((&line, ""));
        let after = after.split_once("}, ").map_or(after, |(_, after)| after);
        let pin = self.exits.is_none().then(|| bench::pin(&self.vm));
        let pending = self.vm.pending_vectors(0);
        format!(
            "{before}{after} {pin:?} {pending:?} {}",
            self.table.leased()
        )
    }

    fn told(&self) -> [bool; 3] {
        let told = |irq: &LevelIrq| irq.resample_notifier().unwrap().is_signalled().unwrap();
        [&self.net, &self.card, &self.nic].map(told)
    }

    /// An interrupt for each kind of device, and all devices see its EOI.
    #[track_caller]
    pub(super) fn expect_all_well(&self, context: &str) {
        let (vm, line) = (&self.vm, &self.line);
        line.resume().unwrap();
        match self.exits {
            None => bench::use_ioapic(vm),
            Some(_) => {
                line.redirect(level(VECTOR), true).unwrap();
                line.redirect(level(VECTOR), false).unwrap();
            }
        }
        for device in [&self.disk, &self.net, &self.card, &self.nic] {
            device.deassert().unwrap();
        }
        while self.end().is_some() {}
        let all = [&self.net, &self.card, &self.nic];
        let _ = all.map(heard);
        for device in [&self.disk, &self.net, &self.card, &self.nic] {
            match device.trigger_notifier() {
                Some(_) => signal(device),
                None => device.assert().unwrap(),
            }
            drop(vm.deliver());
            if device.trigger_notifier().is_none() {
                device.deassert().unwrap();
            }
            assert_eq!(self.end(), Some(VECTOR), "{context}");
            assert_eq!(all.map(heard), [1, 1, 1], "{context}");
            assert_eq!(self.end(), None, "{context}");
        }
    }

    pub(super) fn end(&self) -> Option<u8> {
        let vector = self.vm.take_vector(0)?;
        self.vm.lapic_eoi(0);
        if let Some(exits) = &self.exits {
            exits.on_vector(vector);
        }
        Some(vector)
    }
}

/// Runs `operation` with each of its ioctls failing once. No device is notified.
pub(super) fn fail_each<R>(
    make: impl Fn() -> Bench,
    operation: impl Fn(&Bench) -> Result<R, irqfd::LevelError>,
) {
    fail_each_after(make, operation, |bench, _| {
        assert_eq!(bench.told(), [false; 3]);
    });
}

/// The same for a redirection: it may signal devices, unless it failed at once.
fn fail_each_redirection(make: impl Fn() -> Bench, message: MsiMessage, masked: bool) {
    let redirect = |bench: &Bench| bench.line.redirect(message, masked);
    fail_each_after(make, redirect, |bench, kind| {
        let tells = !masked && !matches!(kind, CallKind::SetGsiRouting);
        assert_eq!(bench.told(), [tells; 3]);
    });
}

fn fail_each_after<R>(
    make: impl Fn() -> Bench,
    operation: impl Fn(&Bench) -> Result<R, irqfd::LevelError>,
    check: impl Fn(&Bench, CallKind),
) {
    let mut failed = 0;
    for kind in KINDS {
        let clean = make();
        clean.vm.reset_calls();
        let done = operation(&clean).unwrap_or_else(|error| panic!("{error}"));
        let calls = clean.vm.calls(kind);
        drop(done);
        clean.expect_all_well("without a fault");
        for nth in 1..=calls {
            let context = format!("{kind:?} {nth}");
            let bench = make();
            let before = bench.state();
            bench.vm.fail(kind, nth, libc::ENOMEM);
            assert!(operation(&bench).is_err(), "{context}");
            bench.vm.clear_faults();
            assert_eq!(bench.state(), before, "{context}");
            check(&bench, kind);
            drop(operation(&bench).unwrap_or_else(|error| panic!("{context}: {error}")));
            bench.expect_all_well(&context);
            failed += 1;
        }
    }
    assert!(failed > 0);
}

pub(super) fn with(bench: Bench, prepare: impl Fn(&Bench)) -> Bench {
    prepare(&bench);
    bench
}

#[test]
fn join() {
    for make in [Bench::pc, Bench::open] {
        fail_each(make, |bench| {
            bench
                .line
                .join_exported(None, notifier())
                .map_err(|it| it.error)
        });
    }
    fail_each(Bench::pc, |bench| {
        bench.line.join_resampled(notifier()).map_err(|it| it.error)
    });
}

#[test]
fn assert() {
    for make in [Bench::pc, Bench::open] {
        fail_each(make, |bench| bench.disk.assert());
        fail_each(make, |bench| bench.card.assert());
    }
    let edges = || {
        with(Bench::masked(), |bench| {
            bench.line.redirect(edge(VECTOR), false).unwrap()
        })
    };
    fail_each(edges, |bench| bench.disk.assert());
}

#[test]
fn deassert() {
    let asserted = || with(Bench::pc(), |bench| bench.net.assert().unwrap());
    fail_each(asserted, |bench| bench.net.deassert());
}

#[test]
fn redirect() {
    let asserted = || with(Bench::masked(), |bench| bench.disk.assert().unwrap());
    fail_each_redirection(asserted, level(VECTOR), false);
    fail_each_redirection(Bench::open, level(VECTOR), true);
    let in_service = || with(Bench::open(), |bench| bench.disk.assert().unwrap());
    fail_each_redirection(in_service, level(0x62), false);
    fail_each_redirection(in_service, level(0x62), true);
    fail_each_redirection(in_service, edge(VECTOR), false);
    let elsewhere = MsiMessage::new(0xfee0_0000, level(VECTOR).data | 1 << 8);
    fail_each_redirection(Bench::open, elsewhere, false);
}

/// A device that cannot leave is on the line as before.
#[test]
fn leave() {
    for make in [Bench::pc, Bench::open] {
        for which in 0..4 {
            for kind in KINDS {
                for nth in 1..=2 {
                    let bench = make();
                    bench.disk.assert().unwrap();
                    bench.disk.deassert().unwrap();
                    bench.vm.clear_vectors(0);
                    let _ = bench.line.on_eoi();
                    let leaving = match which {
                        0 => own(&bench.line),
                        1 => told(&bench.line),
                        _ => exported(&bench.line),
                    };
                    if which < 3 {
                        leaving.assert().unwrap();
                    }
                    let before = (bench.state(), bench.told());
                    bench.vm.fail(kind, nth, libc::ENOMEM);
                    let left = leaving.leave();
                    bench.vm.clear_faults();
                    if let Err(rejected) = left {
                        let after = (bench.state(), bench.told());
                        assert_eq!(after, before, "{which} {kind:?} {nth}");
                        rejected.value.leave().unwrap();
                    }
                    bench.expect_all_well(&format!("{which} {kind:?} {nth}"));
                }
            }
        }
    }
}

/// Assigning it again is no new edge.
#[test]
fn a_leave_that_fails_sends_nothing() {
    let bench = with(Bench::masked(), |bench| {
        bench.line.redirect(edge(VECTOR), false).unwrap();
    });
    let leaving = exported(&bench.line);
    leaving.assert().unwrap();
    assert_eq!(bench.vm.take_vector(0), Some(VECTOR));
    bench.vm.fail(CallKind::IrqFdDeassign, 1, libc::EINVAL);
    let leaving = leaving.leave().unwrap_err().value;
    assert_eq!(bench.vm.pending_vectors(0), [0_u8; 0]);
    assert!(leaving.is_asserted() && bench.line.is_asserted());
    leaving.leave().unwrap();
    assert!(!bench.line.is_asserted());
}

/// The level that could not be lowered is lowered with the next change.
#[test]
fn a_drop_that_fails_leaves_no_line_stuck() {
    let bench = Bench::pc();
    let late = own(&bench.line);
    late.assert().unwrap();
    bench.vm.fail(CallKind::IrqLine, 1, libc::ENOMEM);
    drop(late);
    assert!(bench::pin(&bench.vm) && !bench.line.is_asserted());
    bench.disk.assert().unwrap();
    assert!(bench::pin(&bench.vm));
    bench.expect_all_well("after");
    assert!(!bench::pin(&bench.vm));
    // Or with the line's drop.
    let Bench {
        vm,
        table,
        line,
        disk,
        net,
        card,
        nic,
        ..
    } = bench;
    drop((net, card, nic));
    disk.assert().unwrap();
    vm.fail(CallKind::IrqLine, 1, libc::ENOMEM);
    drop(disk);
    assert!(bench::pin(&vm));
    drop(line);
    assert!(!bench::pin(&vm));
    drop(
        LevelLine::builder(table.line(GSI).unwrap())
            .build()
            .unwrap(),
    );
}

/// At an EOI the interrupt cannot be sent again; the next change of any kind sends it.
#[test]
fn an_eoi_that_fails_is_made_up_for() {
    let bench = Bench::open();
    bench.disk.assert().unwrap();
    assert_eq!(bench.vm.take_vector(0), Some(VECTOR));
    bench.vm.lapic_eoi(0);
    bench.vm.fail(CallKind::IrqLine, 1, libc::ENOMEM);
    bench.line.on_eoi().unwrap_err();
    assert_eq!(heard(&bench.net), 1);
    assert_eq!(bench.vm.pending_vectors(0), [0_u8; 0]);
    bench.net.assert().unwrap();
    assert_eq!(bench.vm.pending_vectors(0), [VECTOR]);
}

#[test]
fn building_a_line_that_fails_gives_everything_back() {
    let (vm, table) = bench::split_table();
    let exits = EoiExits::default();
    let lease = table.lease_exact(GSI).unwrap();
    lease.set_route(level(VECTOR)).unwrap();
    let builder = LevelLine::builder(lease.into_line().unwrap()).eoi_exits(&exits);
    vm.fail(CallKind::IrqFdAssign, 1, libc::ENOMEM);
    let rejected = builder.build().unwrap_err();
    let line = LevelLine::builder(rejected.value).eoi_exits(&exits);
    let line = line.build().unwrap();
    assert_eq!(exits.on_pin(GSI), 1);
    drop(line);
    assert_eq!(table.leased(), 0);
}

/// What was signalled is sent under the new entry, whose EOI is not reported.
#[test]
fn a_redirection_that_fails_loses_no_signal() {
    let bench = Bench::masked();
    signal(&bench.card);
    bench.vm.fail(CallKind::IrqFdAssign, 2, libc::ENOMEM);
    bench.line.redirect(level(VECTOR), false).unwrap_err();
    while bench.end().is_some() {}
    let told = heard(&bench.card);
    bench.line.redirect(level(VECTOR), false).unwrap();
    while bench.end().is_some() {}
    assert_eq!(told + heard(&bench.card), 1);
    bench.expect_all_well("after");

    let bench = Bench::open();
    bench.disk.assert().unwrap();
    bench.vm.fail(CallKind::IrqLine, 1, libc::ENOMEM);
    bench.line.redirect(level(0x62), false).unwrap_err();
    assert_eq!(
        [&bench.card, &bench.nic].map(heard),
        [1, 1],
        "they may have signalled meanwhile"
    );
    let route = bench.table.route(bench.table.gsi(GSI).unwrap());
    assert_eq!(route, Some(level(VECTOR).into()));
}

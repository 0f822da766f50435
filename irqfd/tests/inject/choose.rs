// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The choice of a way, over all that can be asked.

use std::collections::BTreeSet;
use std::fmt::Write;

use irqfd::inject::{Choice, Irqchip, Path, Signaller, Trigger, Wire, choose};
use kvm_test::Recorder;
use notify_core::sim::{Profile, SimVm};

const IRQCHIPS: [Irqchip; 3] = [Irqchip::Full, Irqchip::Split, Irqchip::None];
const WIRES: [Wire; 3] = [Wire::Pin, Wire::PicPin, Wire::Message];
const TRIGGERS: [Trigger; 2] = [Trigger::Edge, Trigger::Level];
const SIGNALLERS: [Signaller; 2] = [Signaller::Vmm, Signaller::Other];

type Question = (Irqchip, Wire, Trigger, Signaller);

fn all() -> impl Iterator<Item = (Question, Choice)> {
    IRQCHIPS.into_iter().flat_map(|irqchip| {
        WIRES.into_iter().flat_map(move |wire| {
            TRIGGERS.into_iter().flat_map(move |trigger| {
                SIGNALLERS.into_iter().map(move |who| {
                    let choice = choose(irqchip, wire, trigger, who);
                    ((irqchip, wire, trigger, who), choice)
                })
            })
        })
    })
}

fn is_bound(path: Path) -> bool {
    matches!(
        path,
        Path::IrqFd | Path::ResampleIrqFd | Path::IrqFdAndEoiExit
    )
}

/// What KVM takes (see the conformance suite), said once more.
#[test]
fn every_choice_can_work() {
    assert_eq!(all().count(), 36);
    for (
        (irqchip, wire, trigger, who),
        Choice {
            path, with, why, ..
        },
    ) in all()
    {
        let asked = format!("{irqchip:?} {wire:?} {trigger:?} {who:?}: {path}, {why}");
        // Without an irqchip KVM refuses everything but KVM_INTERRUPT, and with one in full that alone.
        let own = matches!(path, Path::Interrupt | Path::WaitAndInterrupt);
        match irqchip {
            Irqchip::Full => assert!(!own, "{asked}"),
            Irqchip::None => assert!(own, "{asked}"),
            Irqchip::Split => assert_eq!(own, wire == Wire::PicPin, "{asked}"),
        }
        // Only an eventfd can be given away; who has code here is told what came of it.
        let eventfd = is_bound(path) || path == Path::WaitAndInterrupt;
        assert_eq!(eventfd, who == Signaller::Other, "{asked}");
        // EOIs are heard of exactly where there is a level: from KVM, or from the VMM's own controller.
        let told = matches!(
            path,
            Path::ResampleIrqFd | Path::IrqFdAndEoiExit | Path::IrqLineAndEoiExit
        );
        let pin_and_level = wire != Wire::Message && trigger == Trigger::Level;
        assert_eq!(with.contains("LevelIrq"), pin_and_level, "{asked}");
        assert!(!told || pin_and_level, "{asked}");
        // Resampling wants pins in the kernel, and EOI exits come without.
        if matches!(path, Path::ResampleIrqFd | Path::IrqLine) {
            assert_eq!(irqchip, Irqchip::Full, "{asked}");
        }
        if matches!(path, Path::IrqFdAndEoiExit | Path::IrqLineAndEoiExit) {
            assert_eq!(irqchip, Irqchip::Split, "{asked}");
        }
        assert!(why.ends_with('.') && !why.contains("  "), "{asked}");
    }
}

/// Each answer by itself.
#[test]
fn the_choices() {
    use Signaller::{Other, Vmm};
    use Trigger::{Edge, Level};
    for (irqchip, wire, trigger, who, path, with) in [
        (
            Irqchip::Full,
            Wire::Pin,
            Edge,
            Vmm,
            Path::IrqLine,
            "`inject::line`",
        ),
        (
            Irqchip::Full,
            Wire::Pin,
            Edge,
            Other,
            Path::IrqFd,
            "`IrqFd`",
        ),
        (
            Irqchip::Full,
            Wire::Pin,
            Level,
            Vmm,
            Path::IrqLine,
            "`LevelIrq`",
        ),
        (
            Irqchip::Full,
            Wire::PicPin,
            Level,
            Other,
            Path::ResampleIrqFd,
            "`LevelIrq` (exported)",
        ),
        (
            Irqchip::Full,
            Wire::Message,
            Edge,
            Vmm,
            Path::SignalMsi,
            "`Vector`",
        ),
        (
            Irqchip::Split,
            Wire::Message,
            Edge,
            Other,
            Path::IrqFd,
            "`Vector` (exported)",
        ),
        (
            Irqchip::Split,
            Wire::Pin,
            Edge,
            Vmm,
            Path::SignalMsi,
            "`inject::message`",
        ),
        (
            Irqchip::Split,
            Wire::Pin,
            Edge,
            Other,
            Path::IrqFd,
            "`IrqFd`",
        ),
        (
            Irqchip::Split,
            Wire::Pin,
            Level,
            Vmm,
            Path::IrqLineAndEoiExit,
            "`LevelIrq`",
        ),
        (
            Irqchip::Split,
            Wire::Pin,
            Level,
            Other,
            Path::IrqFdAndEoiExit,
            "`LevelIrq` (exported)",
        ),
        (
            Irqchip::Split,
            Wire::PicPin,
            Edge,
            Vmm,
            Path::Interrupt,
            "`inject::vcpu`",
        ),
        (
            Irqchip::None,
            Wire::Message,
            Edge,
            Vmm,
            Path::Interrupt,
            "`inject::vcpu`",
        ),
        (
            Irqchip::None,
            Wire::Pin,
            Edge,
            Other,
            Path::WaitAndInterrupt,
            "`EventNotifier`, `inject::vcpu`",
        ),
    ] {
        let choice = choose(irqchip, wire, trigger, who);
        assert_eq!(
            (choice.path, choice.with),
            (path, with),
            "{irqchip:?} {wire:?} {trigger:?} {who:?}"
        );
    }
}

#[test]
fn the_irqchip_is_found_out() {
    for (profile, irqchip) in [
        (Profile::X86, Irqchip::Full),
        (Profile::X86Split { pins: 24 }, Irqchip::Split),
        (Profile::None, Irqchip::None),
    ] {
        let vm = SimVm::builder().profile(profile).build();
        assert_eq!(Irqchip::of(&vm).unwrap(), irqchip);
    }
    let vm = SimVm::builder()
        .profile(Profile::Arm64Gic { spis: 32 })
        .build();
    assert_eq!(Irqchip::of(&vm).unwrap(), Irqchip::None, "not yet");
    vm.init_gic();
    assert_eq!(Irqchip::of(&vm).unwrap(), Irqchip::Full);
    let error = Irqchip::of(&Recorder::default()).unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::Unsupported,
        "a machine that cannot tell"
    );
}

/// The table in the documentation, as the code makes it.
fn table() -> String {
    let mut text =
        "| irqchip | connected to | | the VMM's own code | others |\n|---|---|---|---|---|\n"
            .to_owned();
    let mut reasons = String::new();
    let mut given = BTreeSet::new();
    for irqchip in IRQCHIPS {
        for wire in WIRES {
            for trigger in TRIGGERS {
                let wire_name = match wire {
                    Wire::Pin => "a pin",
                    Wire::PicPin => "a pin of the PICs",
                    Wire::Message => "nothing: a message",
                };
                let choices = SIGNALLERS.map(|who| choose(irqchip, wire, trigger, who));
                write!(text, "| {irqchip:?} | {wire_name} | {trigger:?} |").unwrap();
                for Choice {
                    path, with, why, ..
                } in choices
                {
                    write!(text, " {path}: {with} |").unwrap();
                    if given.insert(why) {
                        writeln!(reasons, "- {path}: {why}").unwrap();
                    }
                }
                text.push('\n');
            }
        }
    }
    format!("{text}\nWhy, in the order of the table:\n\n{reasons}")
}

/// `WRITE_TABLE=1` writes it anew.
#[test]
fn the_table_in_the_documentation_is_the_codes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/inject/choose.md");
    if std::env::var_os("WRITE_TABLE").is_some() {
        std::fs::write(path, table()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), table());
}

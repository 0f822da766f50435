// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The choice of a way, over all that can be asked.

use notify_core::{Platform, Vm};
use std::collections::BTreeSet;
use std::fmt::Write;

use irqfd::inject::{Choice, Path, Signaller, Trigger, Wire, choose};
use notify_core::sim::{Profile, SimVm};

const IRQCHIPS: [Option<Platform>; 3] = [FULL, SPLIT, None];
const FULL: Option<Platform> = Some(Platform::X86);
const SPLIT: Option<Platform> = Some(Platform::X86Split);
const WIRES: [Wire; 3] = [Wire::Pin, Wire::PicPin, Wire::Message];
const TRIGGERS: [Trigger; 2] = [Trigger::Edge, Trigger::Level];
const SIGNALLERS: [Signaller; 2] = [Signaller::Vmm, Signaller::Other];

type Question = (Option<Platform>, Wire, Trigger, Signaller);

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
        // Without an irqchip KVM refuses everything but KVM_INTERRUPT, and with one in full that
        // alone.
        let own = matches!(path, Path::Interrupt | Path::WaitAndInterrupt);
        match irqchip {
            FULL => assert!(!own, "{asked}"),
            None => assert!(own, "{asked}"),
            _ => assert_eq!(own, wire == Wire::PicPin, "{asked}"),
        }
        // Only an eventfd can be given away; who has code here is told what came of it.
        let eventfd = is_bound(path) || path == Path::WaitAndInterrupt;
        assert_eq!(eventfd, who == Signaller::Other, "{asked}");
        // EOIs are heard of exactly where there is a level: from KVM, or from the VMM's own
        // controller.
        let told = matches!(
            path,
            Path::ResampleIrqFd | Path::IrqFdAndEoiExit | Path::IrqLineAndEoiExit
        );
        let pin_and_level = wire != Wire::Message && trigger == Trigger::Level;
        assert_eq!(with.contains("LevelIrq"), pin_and_level, "{asked}");
        assert!(!told || pin_and_level, "{asked}");
        // Resampling wants pins in the kernel, and EOI exits come without.
        if matches!(path, Path::ResampleIrqFd | Path::IrqLine) {
            assert_eq!(irqchip, FULL, "{asked}");
        }
        if matches!(path, Path::IrqFdAndEoiExit | Path::IrqLineAndEoiExit) {
            assert_eq!(irqchip, SPLIT, "{asked}");
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
        (FULL, Wire::Pin, Edge, Vmm, Path::IrqLine, "`inject::line`"),
        (FULL, Wire::Pin, Edge, Other, Path::IrqFd, "`IrqFd`"),
        (FULL, Wire::Pin, Level, Vmm, Path::IrqLine, "`LevelIrq`"),
        (
            FULL,
            Wire::PicPin,
            Level,
            Other,
            Path::ResampleIrqFd,
            "`LevelIrq` (exported)",
        ),
        (FULL, Wire::Message, Edge, Vmm, Path::SignalMsi, "`Vector`"),
        (
            SPLIT,
            Wire::Message,
            Edge,
            Other,
            Path::IrqFd,
            "`Vector` (exported)",
        ),
        (
            SPLIT,
            Wire::Pin,
            Edge,
            Vmm,
            Path::SignalMsi,
            "`inject::message`",
        ),
        (SPLIT, Wire::Pin, Edge, Other, Path::IrqFd, "`IrqFd`"),
        (
            SPLIT,
            Wire::Pin,
            Level,
            Vmm,
            Path::IrqLineAndEoiExit,
            "`LevelIrq`",
        ),
        (
            SPLIT,
            Wire::Pin,
            Level,
            Other,
            Path::IrqFdAndEoiExit,
            "`LevelIrq` (exported)",
        ),
        (
            SPLIT,
            Wire::PicPin,
            Edge,
            Vmm,
            Path::Interrupt,
            "`inject::vcpu`",
        ),
        (
            None,
            Wire::Message,
            Edge,
            Vmm,
            Path::Interrupt,
            "`inject::vcpu`",
        ),
        (
            None,
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
        (Profile::X86, FULL),
        (Profile::X86Split { pins: 24 }, SPLIT),
        (Profile::None, None),
    ] {
        let vm = SimVm::builder().profile(profile).build();
        assert_eq!(vm.platform().unwrap(), irqchip);
    }
    let vm = SimVm::builder()
        .profile(Profile::Arm64Gic { spis: 32 })
        .build();
    assert_eq!(vm.platform().unwrap(), None, "not yet");
    vm.init_gic();
    assert_eq!(vm.platform().unwrap(), Some(Platform::Arm64Gic));
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
                let irqchip_name = match irqchip {
                    FULL => "Full",
                    SPLIT => "Split",
                    _ => "None",
                };
                let wire_name = match wire {
                    Wire::Pin => "a pin",
                    Wire::PicPin => "a pin of the PICs",
                    Wire::Message => "nothing: a message",
                };
                let choices = SIGNALLERS.map(|who| choose(irqchip, wire, trigger, who));
                write!(text, "| {irqchip_name} | {wire_name} | {trigger:?} |").unwrap();
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

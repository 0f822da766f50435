// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Histories of level-triggered lines.

use histories::History;
use histories::targets::lines::{
    Device, Entry, Guest, Kind, Lines, Op, Rare, Request, Sharer, Step,
};
use kvm_test::{Trial, anywhere};

/// Level-triggered, not masked.
const LEVEL: Entry = Entry(1);
const MASKED: Entry = Entry(0x11);
const EDGE: Entry = Entry(0xd);

/// The second request of a kind fails.
const SECOND: u8 = 3;

fn run(kind: Kind, steps: &[Step]) {
    let mut all = vec![Step::Rare(Rare::Use(kind))];
    all.extend_from_slice(steps);
    Lines::run(&all);
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        anywhere(
            "lines::a_line_without_a_level_cannot_be_resumed_after_a_resync",
            || {
                run(
                    Kind::PinsWithoutIrqLine,
                    &[
                        Step::Line(0, Op::Pause),
                        Step::Line(0, Op::Resync),
                        Step::Line(0, Op::Resume),
                    ],
                );
            },
        ),
        anywhere(
            "lines::a_pin_stays_high_in_the_other_vm_when_its_devices_have_left",
            || {
                run(
                    Kind::IoApic,
                    &[
                        Step::Device(1, Device::Signal(1)),
                        Step::Line(1, Op::Pause),
                        Step::Device(1, Device::Leave(1, true)),
                        Step::Rare(Rare::Move(true)),
                    ],
                );
            },
        ),
        anywhere(
            "lines::a_resync_drops_the_interrupt_of_an_exported_device_on_arm64",
            || {
                run(
                    Kind::Gic,
                    &[
                        Step::Line(1, Op::Pause),
                        Step::Line(1, Op::Resync),
                        Step::Device(1, Device::Signal(0)),
                        Step::Line(1, Op::Resume),
                    ],
                );
            },
        ),
        anywhere(
            "lines::a_controller_that_refuses_a_level_after_an_eoi_is_not_asked_again",
            || {
                run(
                    Kind::Own,
                    &[
                        Step::Device(1, Device::Assert(0)),
                        Step::Fail(Request::Level, 0),
                        Step::Guest(Guest::Serve(true)),
                        Step::Rare(Rare::Stay),
                    ],
                );
            },
        ),
        anywhere("lines::an_edge_of_a_resume_that_fails_is_forgotten", || {
            run(
                Kind::Split,
                &[
                    Step::Device(0, Device::Join(Sharer::Exported)),
                    Step::Line(0, Op::Redirect(MASKED)),
                    Step::Line(0, Op::Pause),
                    Step::Line(0, Op::Redirect(EDGE)),
                    Step::Device(0, Device::Signal(1)),
                    Step::Fail(Request::Assign, SECOND),
                    Step::Line(0, Op::Resume),
                    Step::Line(0, Op::Redirect(LEVEL)),
                ],
            );
        }),
        anywhere("lines::a_restore_that_fails_loses_a_signal", || {
            run(
                Kind::Split,
                &[
                    Step::Device(0, Device::Join(Sharer::Exported)),
                    Step::Line(0, Op::Pause),
                    Step::Line(0, Op::Save),
                    Step::Line(0, Op::Resume),
                    Step::Line(0, Op::Redirect(MASKED)),
                    Step::Device(0, Device::Signal(1)),
                    Step::Fail(Request::Assign, SECOND),
                    Step::Line(0, Op::Restore),
                ],
            );
        }),
    ]
}

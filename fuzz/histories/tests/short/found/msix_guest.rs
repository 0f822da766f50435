// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Histories of MSI-X tables and MSI capabilities.

use histories::History;
use histories::targets::msix_guest::{
    At, Bytes, Device, Kind, Msi, MsixGuest, Rare, Shape, Step, Table, Vmm, Whole,
};
use kvm_test::{Trial, anywhere};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        anywhere(
            "msix_guest::a_message_that_may_be_for_all_is_not_exchanged_in_place",
            || {
                let shape = Shape {
                    vectors: 166,
                    log: 248,
                    wide: false,
                    maskable: true,
                    queue: false,
                    driven: true,
                    private: 135,
                };
                MsixGuest::run(&[
                    Step::Rare(Rare::Whole(Whole::Start(false, shape))),
                    Step::Table(Table::Write(
                        At::Near(145),
                        Bytes::Long(7886187963998400502),
                    )),
                ]);
            },
        ),
        anywhere(
            "msix_guest::a_vector_that_a_round_has_armed_is_not_dead",
            || {
                MsixGuest::run(&[
                    Step::Rare(Rare::Fail(Kind::Routing, 0, 2, true)),
                    Step::Vmm(Vmm::ExportAll(true)),
                    Step::Run,
                    Step::Run,
                    Step::Run,
                    Step::Run,
                    Step::Device(Device::Trigger(0)),
                ]);
            },
        ),
        anywhere(
            "msix_guest::a_swap_for_which_there_is_no_memory_leaves_the_old_notifier_armed",
            || {
                MsixGuest::run(&[
                    Step::Vmm(Vmm::ExportAll(false)),
                    Step::Run,
                    Step::Rare(Rare::Fail(Kind::Assign, 0, 1, true)),
                    Step::Vmm(Vmm::Replace(7)),
                    Step::Run,
                ]);
            },
        ),
        anywhere(
            "msix_guest::a_vector_whose_gsi_is_lost_is_retargeted_through_another_one",
            || {
                let shape = Shape {
                    vectors: 1,
                    log: 0,
                    wide: false,
                    maskable: false,
                    queue: false,
                    driven: true,
                    private: 0,
                };
                // The vector of the capability is the last one.
                MsixGuest::run(&[
                    Step::Rare(Rare::Whole(Whole::Rebuild(shape))),
                    Step::Vmm(Vmm::Export(2)),
                    Step::Rare(Rare::Fail(Kind::Deassign, 0, 1, false)),
                    Step::Vmm(Vmm::Replace(2)),
                    Step::Msi(Msi::Data(15)),
                    Step::Device(Device::Trigger(2)),
                ]);
            },
        ),
        anywhere(
            "msix_guest::a_dead_vector_that_waits_with_another_notifier_was_dead_for_triggers",
            || {
                // Two private vectors, which are the last ones.
                let shape = Shape {
                    vectors: 0,
                    log: 1,
                    wide: true,
                    maskable: false,
                    queue: true,
                    driven: true,
                    private: 2,
                };
                MsixGuest::run(&[
                    Step::Vmm(Vmm::Replace(0)),
                    Step::Rare(Rare::Whole(Whole::Rebuild(shape))),
                    Step::Rare(Rare::Fail(Kind::Routing, 0, 2, false)),
                    Step::Run,
                    Step::Vmm(Vmm::Share(2, 0)),
                    Step::Device(Device::Trigger(2)),
                ]);
            },
        ),
    ]
}

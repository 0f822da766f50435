// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Of MSI-X tables and MSI capabilities.

use histories::History;
use histories::targets::msix_guest::{Device, Kind, MsixGuest, Rare, Step, Vmm};
use kvm_test::{Trial, anywhere};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
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
            "msix_guest::a_vector_that_lost_both_notifiers_for_want_of_memory_is_tried_again",
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
    ]
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Histories of routing tables.

use histories::History;
use histories::targets::routing::{Act, Ask, Crowd, Edit, Fault, Item, RoutingCommits};
use histories::targets::routing::{Rule, Step, Wait};
use kvm_test::{Trial, anywhere};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        anywhere("routing_commits::an_edit_is_committed_twice", || {
            RoutingCommits::run(&[
                Step::Fill(true, 246),
                Step::Round(
                    true,
                    Ask::Each(vec![
                        Item::Kept(26),
                        Item::New(138, 207, 67),
                        Item::Kept(113),
                        Item::New(0, 0, 0),
                    ]),
                    vec![],
                ),
            ]);
        }),
        anywhere("routing_commits::an_edit_is_of_a_larger_table", || {
            RoutingCommits::run(&[
                Step::Fill(false, 157),
                Step::Crowd(
                    true,
                    Crowd {
                        first: Some(Ask::Drive(165)),
                        wait: None,
                        others: (
                            Ask::Each(vec![Item::New(244, 121, 14), Item::Kept(20)]),
                            Ask::Recommit,
                        ),
                        more: vec![],
                        at: 228,
                        acts: vec![],
                        faults: vec![(137, Fault::PanicBefore)],
                    },
                ),
            ]);
        }),
        anywhere("routing_commits::a_line_is_taken_where_no_route_is", || {
            RoutingCommits::run(&[
                Step::Act(true, Act::Exact(228)),
                Step::Translate(14, Rule::Block),
                Step::Commit(true, Edit::MsiToo(68, 114), vec![]),
                Step::Crowd(
                    true,
                    Crowd {
                        first: None,
                        wait: Some(Wait::IntoLine(85)),
                        others: (Ask::Flush, Ask::Flush),
                        more: vec![],
                        at: 0,
                        acts: vec![],
                        faults: vec![],
                    },
                ),
                Step::Round(true, Ask::Retranslate, vec![]),
            ]);
        }),
    ]
}

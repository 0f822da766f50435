// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the system call lists of two VMMs lack for each kind of object.

use std::fmt::Write;

use crate::call::*;
use crate::pages::Page;
use crate::row::{Section, Thread};

/// The list of a thread, limited to calls that the tables name.
struct Filter {
    name: &'static str,
    /// The threads of the tables that run on this thread of the VMM.
    threads: &'static [Thread],
    allows: &'static [Call],
}

/// Firecracker 1.17.0-dev, commit 81b38b9dad60 of 21 August 2026, in
/// `resources/seccomp/x86_64-unknown-linux-musl.json`; Cloud Hypervisor 54.0, commit ae44c2971c83
/// of 22 August 2026, in `vmm/src/seccomp_filters.rs` and `virtio-devices/src/seccomp_filters.rs`.
///
/// Firecracker allows KVM_CHECK_EXTENSION on `vcpu` for KVM_CAP_MSI_DEVID alone; it is left out.
const FILTERS: [Filter; 5] = [
    Filter {
        name: "Firecracker, `vcpu`",
        threads: &[Thread::Vcpu],
        allows: &[
            WRITE,
            EVENTFD2,
            CLOSE,
            NEWFSTATAT,
            OPENAT,
            STATX,
            EPOLL_CTL,
            TIMERFD_SETTIME,
            KVM_SET_GSI_ROUTING,
            KVM_IRQFD,
            KVM_GET_TSC_KHZ,
        ],
    },
    Filter {
        name: "Firecracker, `vmm`",
        threads: &[Thread::Device, Thread::Vmm],
        allows: &[
            READ,
            WRITE,
            WRITEV,
            EVENTFD2,
            CLOSE,
            F_SETFD,
            MUSL_F_SETFD,
            NEWFSTATAT,
            OPENAT,
            STATX,
            LSEEK,
            GETRANDOM,
            EPOLL_CTL,
            EPOLL_WAIT,
            TIMERFD_CREATE,
            TIMERFD_SETTIME,
            KVM_IRQFD,
            KVM_IOEVENTFD,
        ],
    },
    Filter {
        name: "Cloud Hypervisor, `Vcpu`",
        threads: &[Thread::Vcpu],
        allows: &[
            READ,
            WRITE,
            WRITEV,
            CLOSE,
            F_DUPFD_CLOEXEC,
            F_GETFL,
            F_SETFL,
            F_SETFD,
            MUSL_F_SETFD,
            NEWFSTATAT,
            OPENAT,
            STATX,
            LSEEK,
            GETPID,
            GETRANDOM,
            EPOLL_CTL,
            KVM_CHECK_EXTENSION,
            KVM_SET_GSI_ROUTING,
            KVM_IRQFD,
            KVM_IOEVENTFD,
        ],
    },
    Filter {
        name: "Cloud Hypervisor, device threads",
        threads: &[Thread::Device],
        allows: &[
            READ,
            WRITE,
            CLOSE,
            F_DUPFD_CLOEXEC,
            F_GETFL,
            F_SETFL,
            F_SETFD,
            MUSL_F_SETFD,
            OPENAT,
            GETPID,
            EPOLL_CREATE1,
            EPOLL_CTL,
            EPOLL_WAIT,
        ],
    },
    Filter {
        name: "Cloud Hypervisor, `Vmm`",
        threads: &[Thread::Vmm],
        allows: &[
            READ,
            WRITE,
            WRITEV,
            POLL,
            EVENTFD2,
            CLOSE,
            F_DUPFD_CLOEXEC,
            F_GETFL,
            F_SETFL,
            F_SETFD,
            MUSL_F_SETFD,
            NEWFSTATAT,
            OPENAT,
            STATX,
            LSEEK,
            GETPID,
            GETRANDOM,
            EPOLL_CREATE1,
            EPOLL_CTL,
            EPOLL_WAIT,
            TIMERFD_CREATE,
            TIMERFD_SETTIME,
            KVM_GET_API_VERSION,
            KVM_CHECK_EXTENSION,
            KVM_SET_GSI_ROUTING,
            KVM_IRQFD,
            KVM_IOEVENTFD,
            KVM_GET_TSC_KHZ,
        ],
    },
];

/// What a VMM calls before its filters are installed, and what is part of the other objects.
const BEFORE: [&str; 5] = [
    "notifiers",
    "making a notifier",
    "`Vrings`, beside those of the back-end",
    "`KvmVcpu`",
    "`KvmVm`",
];

/// A column of a table: one kind of object, on all threads.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    subject: &'static str,
    columns: &'static [&'static str],
    column: usize,
}

pub(crate) fn text(pages: &[Page]) -> String {
    let names = FILTERS.map(|filter| filter.name).join(" | ");
    let mut text = format!("| | {names} |\n|---|{}\n", "---|".repeat(FILTERS.len()));
    let sections = pages.iter().flat_map(|page| &page.sections);
    let sections: Vec<_> = sections
        .filter(|it| !BEFORE.contains(&it.subject))
        .collect();
    let mut kinds = Vec::new();
    for section in &sections {
        for column in 0..section.columns.len().max(1) {
            let kind = Kind {
                subject: section.subject,
                columns: section.columns,
                column,
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    for kind in kinds {
        let lacks = FILTERS.map(|filter| lacks(&filter, &sections, kind));
        let column = kind.columns.get(kind.column);
        let column = column.map(|column| format!(": {column}"));
        let name = format!("{}{}", kind.subject, column.unwrap_or_default());
        writeln!(text, "| {name} | {} |", lacks.join(" | ")).unwrap();
    }
    text
}

/// The calls that a thread's list lacks for the operations of its VMM on such an object.
fn lacks(filter: &Filter, sections: &[&Section], kind: Kind) -> String {
    let is_meant = |section: &&&Section| {
        section.subject == kind.subject && filter.threads.contains(&section.thread)
    };
    let cells = sections.iter().filter(is_meant);
    let cells = cells.flat_map(|section| &section.rows);
    let cells: Vec<_> = cells
        .filter_map(|row| row.cells.get(kind.column)?.calls)
        .collect();
    if cells.is_empty() {
        return "–".to_owned();
    }
    let needed = |call: &Call| cells.iter().any(|calls| calls.contains(call));
    let missing = ALL
        .iter()
        .filter(|call| needed(call) && !filter.allows.contains(call));
    let missing: Vec<_> = missing.map(Call::to_string).collect();
    match missing.is_empty() {
        true => "nothing".to_owned(),
        false => missing.join(", "),
    }
}

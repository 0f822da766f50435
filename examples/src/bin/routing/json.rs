// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The report for a script.

use irq_routing::{DumpEntry, DumpTarget, EntryKind, MsiMessage, Problem};
use notify_core::RouteTarget;
use serde_json::{Value, json};

use crate::report::{Report, Travel};

/// Returns the whole report, or the part about one GSI.
pub(crate) fn object(report: &Report, gsi: Option<u32>) -> Value {
    let wanted = |other: u32| gsi.is_none_or(|gsi| gsi == other);
    let entries = report.dump.entries().iter();
    let entries: Vec<_> = entries.filter(|it| wanted(it.gsi)).map(entry).collect();
    let explanations: Vec<_> = match gsi {
        Some(gsi) => vec![explanation(gsi, &report.travel(gsi))],
        None => {
            let all = report.travels.iter();
            all.map(|(gsi, it)| explanation(*gsi, it)).collect()
        }
    };
    let problems = report.problems.iter();
    let problems = problems.filter(|it| gsi.is_none() || it.gsis().any(wanted));
    json!({
        "source": report.source,
        "backend": report.backend,
        "platform": report.dump.platform().to_string(),
        "gsis": report.dump.limit(),
        "refused": report.is_refused(),
        "entries": entries,
        "explanations": explanations,
        "nowhere": report.nowhere(),
        "problems": problems.map(problem).collect::<Vec<_>>(),
    })
}

fn entry(entry: &DumpEntry) -> Value {
    let gsi = entry.gsi;
    let target = match entry.target {
        DumpTarget::Entry(target) => target,
        DumpTarget::Untold(kind) => return json!({ "gsi": gsi, "type": name(kind) }),
        _ => return json!({ "gsi": gsi }),
    };
    match target {
        RouteTarget::Pin { chip, pin } => {
            json!({ "gsi": gsi, "type": "pin", "chip": chip, "pin": pin })
        }
        RouteTarget::Msi(MsiMessage {
            address,
            data,
            devid,
        }) => {
            json!({ "gsi": gsi, "type": "msi", "address": address, "data": data, "devid": devid })
        }
        RouteTarget::HvSint { vcpu, sint } => {
            json!({ "gsi": gsi, "type": "hv_sint", "vcpu": vcpu, "sint": sint })
        }
        RouteTarget::XenEvtchn {
            port,
            vcpu,
            priority,
        } => {
            json!({
                "gsi": gsi, "type": "xen_evtchn", "port": port, "vcpu": vcpu, "priority": priority
            })
        }
        _ => json!({ "gsi": gsi }),
    }
}

fn name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Msi => "msi",
        EntryKind::S390Adapter => "s390_adapter",
        EntryKind::HvSint => "hv_sint",
        EntryKind::XenEvtchn => "xen_evtchn",
        _ => "other",
    }
}

fn explanation(gsi: u32, travel: &Travel) -> Value {
    json!({
        "gsi": gsi,
        "lost": travel.is_lost,
        "travels": travel.how,
        "words": travel.what,
        "hints": travel.hints,
    })
}

fn problem(problem: &Problem) -> Value {
    json!({
        "gsis": problem.gsis().collect::<Vec<_>>(),
        "refused": problem.is_refused(),
        "words": problem.to_string(),
    })
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a failed call changes nevertheless, and why.

use super::run::Failing;
use super::run::What::{self, Changed, Differs, Fails};

/// Operations and calls of them whose failure is seen afterwards.
#[derive(Debug)]
pub(super) struct Exception {
    /// Parts of the names of trials.
    operations: &'static [&'static str],
    /// The calls, perhaps with an errno.
    calls: &'static [&'static str],
    what: &'static [What],
    /// Each line that differs has one of these, and each is in a line. With none all may differ.
    only: &'static [&'static str],
    reason: &'static str,
}

impl Exception {
    /// The calls of it that a trial needs.
    pub(super) fn calls_of(&self, trial: &str) -> &'static [&'static str] {
        let is_it = self.operations.iter().any(|part| trial.contains(part));
        if is_it { self.calls } else { &[] }
    }

    pub(super) fn is_of(&self, call: &str, failing: &Failing, what: What, finding: &str) -> bool {
        let seen = failing.place.1.to_string();
        let is_call = call == seen || call == format!("{seen} {:?}", failing.fault.errno);
        let is_allowed = |line: &str| self.only.iter().any(|part| line.contains(part));
        let is_all = self.only.is_empty() || finding.lines().all(is_allowed);
        let is_all = is_all && self.only.iter().all(|part| finding.contains(part));
        is_call && self.what.contains(&what) && is_all
    }

    /// Checks that each operation is part of the name of a trial.
    pub(super) fn check(&self, trials: &[String]) {
        for part in self.operations {
            let is_there = trials.iter().any(|trial| trial.contains(part));
            assert!(is_there, "no trial has {part:?} in its name");
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
}

pub(super) const EXCEPTIONS: [Exception; 42] = [
    Exception {
        operations: &[
            "an unmask while an interrupt is pending",
            "an unmask after a read of the PBA that found one",
            "`Table::resume` with an interrupt that came",
        ],
        calls: &["KVM_SIGNAL_MSI"],
        what: &[Changed],
        only: &["pending: "],
        reason: "an interrupt whose message KVM refuses is lost, as on a bus",
    },
    Exception {
        operations: &[
            "an unmask while an interrupt is pending",
            "an unmask after a read of the PBA that found one",
            "`Table::resume` with an interrupt that came",
        ],
        calls: &["KVM_SIGNAL_MSI"],
        what: &[Differs],
        only: &["injected: "],
        reason: "an interrupt whose message KVM refuses is lost, as on a bus",
    },
    Exception {
        operations: &["`trigger`, the vector open", "`Binding::trigger`"],
        calls: &["KVM_SIGNAL_MSI"],
        what: &[Changed],
        only: &[
            "Open",
            "Dead(",
            "data: ",
            "devid: ",
            "cause: ",
            "kind: ",
            "message: ",
        ],
        reason: "the vector is dead until KVM takes a message",
    },
    Exception {
        operations: &[
            "an unmask after a read of the PBA that found one",
            "`Table::resume` with an interrupt that came",
        ],
        calls: &["`write` EPERM"],
        what: &[Differs],
        only: &["pending: "],
        reason: "the interrupt stays pending",
    },
    Exception {
        operations: &[
            "`Table::restore` with an interrupt that is pending",
            "`Binding::bind_call`, away from a masked vector",
        ],
        calls: &["`write` EPERM"],
        what: &[Differs],
        only: &["pending: ", "eventfd-count"],
        reason: "the interrupt is pending in the vector, and not in its notifier",
    },
    Exception {
        operations: &["`Binding::bind_call`, away from a masked vector"],
        calls: &["`preadv2` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "the signal goes to the new vector, and stays at the old one as well",
    },
    Exception {
        operations: &["`trigger` after a peer has filled the counter"],
        calls: &["`write` EPERM"],
        what: &[Changed],
        only: &["eventfd-count"],
        reason: "the counter was emptied for the signal",
    },
    Exception {
        operations: &["an unmask, if the table has an `ArmQueue`"],
        calls: &["`write` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "the vector is queued, and the descriptor of the queue does not become readable",
    },
    Exception {
        operations: &[
            "`ArmQueue::run_pending`",
            "`ArmQueue`: `run_pending`, no GSI",
        ],
        calls: &["`read` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "the descriptor stays readable, and the next run finds nothing",
    },
    Exception {
        operations: &[
            "`export`, the vector open",
            "`replace_notifier`, the vector open",
        ],
        calls: &["KVM_SET_GSI_ROUTING", "KVM_IRQFD"],
        what: &[Differs],
        only: &[],
        reason: "the exchange succeeds, and the state of the vector says why it is not armed",
    },
    Exception {
        operations: &["`replace_notifier`, the vector open"],
        calls: &["KVM_IRQFD that undoes"],
        what: &[Fails, Differs],
        only: &[],
        reason: "if the undo fails too, both notifiers stay bound, and the GSI is kept out of use",
    },
    Exception {
        operations: &["`redirect`, unmasked with another message"],
        calls: &["KVM_IRQFD"],
        what: &[Changed],
        only: &["data: 0x8052", "route of", "eventfd-count"],
        reason: "the entry is masked still; devices may have been notified",
    },
    Exception {
        operations: &["`redirect`, unmasked while the line is high"],
        calls: &["KVM_IRQFD"],
        what: &[Changed],
        only: &["eventfd-count"],
        reason: "devices may have been notified of an EOI",
    },
    Exception {
        operations: &[
            "`redirect`, unmasked with another message",
            "`redirect`, unmasked while the line is high",
        ],
        calls: &["KVM_IRQFD"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "devices may have been notified of an EOI",
    },
    Exception {
        operations: &[
            "`redirect`, unmasked with another message",
            "an EOI exit",
            "`restore`, the line paused",
            "`resync`",
            "`on_eoi`, `EoiExits::on_pin`",
        ],
        calls: &["`write` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "a device that cannot be notified of an EOI is logged",
    },
    Exception {
        operations: &["an EOI exit"],
        calls: &["KVM_IRQ_LINE_STATUS"],
        what: &[Differs],
        only: &["injected: "],
        reason: "it is logged, and the line retries with its next change",
    },
    Exception {
        operations: &["`resume`, after an interrupt has come"],
        calls: &["KVM_IRQFD that undoes", "KVM_IRQFD"],
        what: &[Changed, Differs],
        only: &["eventfd-count"],
        reason: "KVM has injected the signal; a pin stays high, by the placeholder",
    },
    Exception {
        operations: &["`resume`, after an interrupt has come"],
        calls: &["`read` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "devices are notified, as an EOI may have been missed",
    },
    Exception {
        operations: &["`resync`"],
        calls: &["KVM_IRQ_LINE", "KVM_IRQ_LINE_STATUS"],
        what: &[Changed, Differs],
        only: &["eventfd-count"],
        reason: "the devices were notified",
    },
    Exception {
        operations: &["level-triggered lines: `pause`"],
        calls: &["KVM_IRQFD that undoes"],
        what: &[Differs],
        only: &["stuck: "],
        reason: "if the undo fails too, the GSI is kept out of use when the line ends",
    },
    Exception {
        operations: &["drop of a `LevelIrq`"],
        calls: &["KVM_IRQ_LINE"],
        what: &[Differs],
        only: &["line 10 of"],
        reason: "a drop logs what it cannot undo",
    },
    Exception {
        operations: &["drop of the table, vectors open", "`IrqFd`: drop"],
        calls: &["KVM_IRQFD that undoes"],
        what: &[Differs],
        only: &["Gsi(25)) free", "Gsi(24)) free", "route of"],
        reason: "the GSI of an irqfd that may be bound is kept out of use",
    },
    Exception {
        operations: &["drop of an `IoEventFd`"],
        calls: &["KVM_IOEVENTFD that undoes"],
        what: &[Differs],
        only: &["ioeventfd of"],
        reason: "a drop logs what it cannot undo",
    },
    Exception {
        operations: &["drop of a set that is started"],
        calls: &["KVM_IOEVENTFD that undoes"],
        what: &[Differs],
        only: &[],
        reason: "the doorbell goes into the quarantine of the registry",
    },
    Exception {
        operations: &["`inject::vcpu`"],
        calls: &["KVM_INTERRUPT EEXIST"],
        what: &[Differs],
        only: &["injected: "],
        reason: "another interrupt waits, which is an outcome and no error",
    },
    Exception {
        operations: &["the first commit of a table that is older"],
        calls: &["KVM_IRQFD EINVAL"],
        what: &[Differs],
        only: &[],
        reason: "so KVM says that there is no interrupt controller yet",
    },
    Exception {
        operations: &["the first commit of a table that is older"],
        calls: &["KVM_SET_GSI_ROUTING"],
        what: &[Changed],
        only: &["platform: "],
        reason: "what was found out about the VM is kept",
    },
    Exception {
        operations: &[
            "`start`, with the doorbells that it had",
            "`DoorbellSet`: `kick`",
        ],
        calls: &["`write` EPERM"],
        what: &[Changed, Differs],
        only: &["eventfd-count"],
        reason: "other queues were kicked",
    },
    Exception {
        operations: &["`stop` (the driver resets the device)"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Changed],
        only: &["started: ", "ioeventfd of", " owners"],
        reason: "the set is stopped, and all kicks are still pending",
    },
    Exception {
        operations: &["`apply` of another notifier", "`apply` of an `EventFd`"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "a kick that cannot be taken from the old notifier stays there",
    },
    Exception {
        operations: &["`apply` of an `EventFd`"],
        calls: &["`openat` (musl: `open`)"],
        what: &[Differs],
        only: &["mode: "],
        reason: "the mode is not known",
    },
    Exception {
        operations: &["`mode` of one that was converted"],
        calls: &[
            "`openat` (musl: `open`) ENOENT",
            "`openat` (musl: `open`) EPERM",
            "`read` EPERM",
        ],
        what: &[Differs],
        only: &["mode: "],
        reason: "the mode is not known",
    },
    Exception {
        operations: &["a turn that calls a handler"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Differs],
        only: &[" owners", "eventpoll", "eventfd-count"],
        reason: "the handler has failed, and is not watched any more",
    },
    Exception {
        operations: &["turns with a handler that is polled"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Differs],
        only: &["eventpoll", "eventfd-count"],
        reason: "the handler has failed, and is not watched any more",
    },
    Exception {
        operations: &["`pause`, `remove`"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Changed],
        only: &["eventpoll"],
        reason: "the handler is paused all the same",
    },
    Exception {
        operations: &["`pause`, `remove`"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Changed],
        only: &[" owners"],
        reason: "the handler is removed all the same",
    },
    Exception {
        operations: &["`pause`, `remove`"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Fails],
        only: &["panicked", "NoHandler"],
        reason: "the handler is removed all the same",
    },
    Exception {
        operations: &["`Vrings`, beside those of the back-end: `start`, VMM"],
        calls: &["`preadv2` EPERM", "`fcntl` (F_GETFL)", "`write` EPERM"],
        what: &[Changed],
        only: &["calls_missing", "eventfd-count"],
        reason: "the back-end may have used kicks up and owe calls, so there are more signals",
    },
    Exception {
        operations: &["`start` after `abandon`"],
        calls: &["`preadv2` EPERM", "`fcntl` (F_GETFL)", "`write` EPERM"],
        what: &[Changed],
        only: &["eventfd-count"],
        reason: "the back-end may have used kicks up and owe calls, so there are more signals",
    },
    Exception {
        operations: &["`Vrings`, beside those of the back-end: `start`"],
        calls: &["`preadv2` EPERM", "`fcntl` (F_GETFL)", "`write` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "the back-end may have used kicks up and owe calls, so there are more signals",
    },
    Exception {
        operations: &["`Vrings`, beside those of the back-end: `stop`"],
        calls: &["`preadv2` EPERM"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "the ring counts as kicked, and the kick stays",
    },
    Exception {
        operations: &["`start` after `abandon`"],
        calls: &["`write` EAGAIN"],
        what: &[Differs],
        only: &["eventfd-count"],
        reason: "a full counter is emptied and signalled once",
    },
];

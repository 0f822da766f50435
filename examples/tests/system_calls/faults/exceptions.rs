// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a failed call changes nevertheless, and why.

use nix::errno::Errno;

use super::ledger::Seen;
use super::run::What::{self, Changed, Differs, Fails};

/// Operations and calls of them whose failure is seen afterwards.
#[derive(Debug)]
pub(super) struct Exception {
    /// Parts of the names of trials.
    operations: &'static [&'static str],
    /// The calls, perhaps with an errno.
    calls: &'static [&'static str],
    what: &'static [What],
    reason: &'static str,
}

impl Exception {
    /// The calls of it that a trial needs.
    pub(super) fn calls_of(&self, trial: &str) -> &'static [&'static str] {
        let is_it = self.operations.iter().any(|part| trial.contains(part));
        if is_it { self.calls } else { &[] }
    }

    pub(super) fn is_of(&self, call: &str, seen: &Seen, errno: Errno, what: What) -> bool {
        let seen = seen.to_string();
        self.what.contains(&what) && (call == seen || call == format!("{seen} {errno:?}"))
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
}

pub(super) const EXCEPTIONS: [Exception; 30] = [
    Exception {
        operations: &[
            "an unmask while an interrupt is pending",
            "an unmask after a read of the PBA that found one",
            "`Table::resume` with an interrupt that came",
        ],
        calls: &["KVM_SIGNAL_MSI"],
        what: &[Changed, Differs],
        reason: "an interrupt whose message KVM refuses is lost, as a write to an absent address on a bus",
    },
    Exception {
        operations: &["`trigger`, the vector open", "`Binding::trigger`"],
        calls: &["KVM_SIGNAL_MSI"],
        what: &[Changed],
        reason: "the vector is dead until KVM takes a message",
    },
    Exception {
        operations: &[
            "an unmask after a read of the PBA that found one",
            "`Table::resume` with an interrupt that came",
        ],
        calls: &["`write` EPERM"],
        what: &[Differs],
        reason: "the interrupt stays pending",
    },
    Exception {
        operations: &["`Table::restore` with an interrupt that is pending"],
        calls: &["`write` EPERM"],
        what: &[Differs],
        reason: "the interrupt is pending in the vector, and not in its notifier",
    },
    Exception {
        operations: &["`Binding::bind_call`, away from a masked vector"],
        calls: &["`write` EPERM"],
        what: &[Differs],
        reason: "the signal is pending in the new vector, and not in its notifier",
    },
    Exception {
        operations: &["`Binding::bind_call`, away from a masked vector"],
        calls: &["`preadv2` EPERM"],
        what: &[Differs],
        reason: "the signal goes to the new vector, and stays at the old one as well",
    },
    Exception {
        operations: &["`trigger` after a peer has filled the counter"],
        calls: &["`write` EPERM"],
        what: &[Changed],
        reason: "the counter was emptied for the signal",
    },
    Exception {
        operations: &["an unmask, if the table has an `ArmQueue`"],
        calls: &["`write` EPERM"],
        what: &[Differs],
        reason: "the vector is queued, and the queue's descriptor does not become readable",
    },
    Exception {
        operations: &[
            "`ArmQueue::run_pending`",
            "`ArmQueue`: `run_pending`, no GSI",
        ],
        calls: &["`read` EPERM"],
        what: &[Differs],
        reason: "the descriptor stays readable, and the next run finds nothing",
    },
    Exception {
        operations: &[
            "`export`, the vector open",
            "`replace_notifier`, the vector open",
        ],
        calls: &["KVM_SET_GSI_ROUTING", "KVM_IRQFD"],
        what: &[Differs],
        reason: "the exchange succeeds, and the state of the vector says why it is not armed",
    },
    Exception {
        operations: &["`redirect`, unmasked with another message"],
        calls: &["KVM_IRQFD"],
        what: &[Changed, Differs],
        reason: "the entry is masked still; its route may be the new one, and devices may have been notified",
    },
    Exception {
        operations: &["`redirect`, unmasked while the line is high"],
        calls: &["KVM_IRQFD"],
        what: &[Changed, Differs],
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
        reason: "the signal to a device that cannot be notified is logged",
    },
    Exception {
        operations: &["an EOI exit"],
        calls: &["KVM_IRQ_LINE_STATUS"],
        what: &[Differs],
        reason: "it is logged, and the line retries with its next change",
    },
    Exception {
        operations: &["`resume`, after an interrupt has come"],
        calls: &["KVM_IRQFD that undoes"],
        what: &[Changed, Differs],
        reason: "KVM has taken the signal, and the placeholder keeps the pin high",
    },
    Exception {
        operations: &["`resume`, after an interrupt has come"],
        calls: &["`read` EPERM"],
        what: &[Differs],
        reason: "devices are notified, as an EOI may have been missed",
    },
    Exception {
        operations: &["`resync`"],
        calls: &["KVM_IRQ_LINE", "KVM_IRQ_LINE_STATUS"],
        what: &[Changed, Differs],
        reason: "the devices were notified",
    },
    Exception {
        operations: &["`LevelIrq::leave`, drop"],
        calls: &["KVM_IRQ_LINE"],
        what: &[Differs],
        reason: "a drop logs what it cannot undo",
    },
    Exception {
        operations: &["drop of an `IoEventFd`", "drop of a set that is started"],
        calls: &["KVM_IOEVENTFD that undoes"],
        what: &[Differs],
        reason: "a drop logs what it cannot undo; that of a set goes into quarantine",
    },
    Exception {
        operations: &["`inject::vcpu`"],
        calls: &["KVM_INTERRUPT EEXIST"],
        what: &[Differs],
        reason: "another interrupt waits, which is an outcome and no error",
    },
    Exception {
        operations: &["the first commit of a table that is older"],
        calls: &["KVM_IRQFD"],
        what: &[Differs],
        reason: "errors of this request say that there is no interrupt controller",
    },
    Exception {
        operations: &["the first commit of a table that is older"],
        calls: &["KVM_SET_GSI_ROUTING"],
        what: &[Changed],
        reason: "what was found out about the VM is kept",
    },
    Exception {
        operations: &["`stop` (the driver resets the device)"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Changed],
        reason: "the set is stopped, and all kicks are still pending",
    },
    Exception {
        operations: &["`apply` of another notifier", "`apply` of an `EventFd`"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Differs],
        reason: "a kick that cannot be taken from the old notifier stays there",
    },
    Exception {
        operations: &["`mode` of one that was converted"],
        calls: &["`openat` (musl: `open`)", "`read` EPERM"],
        what: &[Differs],
        reason: "the mode is not known",
    },
    Exception {
        operations: &[
            "a turn that calls a handler",
            "turns with a handler that is polled",
        ],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Differs],
        reason: "the handler has failed, and is not watched any more",
    },
    Exception {
        operations: &["`pause`, `remove`"],
        calls: &["`read` EPERM", "`preadv2` EPERM"],
        what: &[Changed, Fails],
        reason: "the handler is paused or removed all the same",
    },
    Exception {
        operations: &["`Vrings`, beside those of the back-end: `start`"],
        calls: &["`preadv2` EPERM", "`fcntl` (F_GETFL)", "`write` EPERM"],
        what: &[Changed, Differs],
        reason: "the back-end may have used kicks up and owe calls, so there are more signals",
    },
    Exception {
        operations: &["`Vrings`, beside those of the back-end: `stop`"],
        calls: &["`preadv2` EPERM"],
        what: &[Differs],
        reason: "the ring counts as kicked, and the kick stays",
    },
    Exception {
        operations: &["`start` after `abandon`"],
        calls: &["`write` EAGAIN"],
        what: &[Differs],
        reason: "a full counter is emptied and signalled once",
    },
];

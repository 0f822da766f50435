// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Those of vectors, lines and irqfds.

use super::Exception;
use crate::faults::run::What::{Changed, Differs, Fails};

pub(super) const EXCEPTIONS: [Exception; 22] = [
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
];

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Injected`]: the outcome of an injection.

use std::fmt;

/// The outcome of an injection, as far as KVM reports it.
///
/// | outcome | of |
/// |---|---|
/// | [`Delivered`](Self::Delivered) | messages, lines |
/// | [`NoListener`](Self::NoListener), [`Untranslated`](Self::Untranslated) | messages, lines that are routed to a message |
/// | [`Coalesced`](Self::Coalesced), [`Masked`](Self::Masked) | lines that are routed to pins |
/// | [`NoLowLevel`](Self::NoLowLevel) | lines that are routed to a message |
/// | [`Untold`](Self::Untold) | lines, messages on riscv64 |
/// | [`Queued`](Self::Queued), [`StillQueued`](Self::StillQueued) | vectors of a vCPU |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a vector that is `StillQueued` was not taken"]
#[non_exhaustive]
pub enum Injected {
    /// Taken by so many, at least 1.
    ///
    /// Of a message, on x86: the number of local APICs. If the vector was pending in one of them,
    /// the two merge. Of a line: the sum of what its chips return. For a low level that is 1 each,
    /// though nothing takes it. For a high level a PIC returns 1, and the IOAPIC the number of
    /// local APICs that took it.
    Delivered(u32),

    /// An interrupt of the pin is pending already, and the guest will see one. (KVM returns the
    /// same for a pin of the IOAPIC whose interrupt no local APIC took.)
    Coalesced,

    /// The guest has masked the pin, or its last interrupt awaits the EOI. A high level that stays
    /// is seen at the unmask or EOI; an edge is lost, unless another chip took it.
    Masked,

    /// No vCPU has taken the message: none has that APIC id, or its local APIC is switched off.
    NoListener,

    /// The table's translation does not let the message through.
    Untranslated,

    /// The GSI is routed to a message, for which level 0 means nothing.
    NoLowLevel,

    /// Unknown. On arm64 and riscv64 the kernel does not report it. Elsewhere it had no effect, and
    /// the kernel's route of the GSI is not known: a panic of the VM's port has cut a commit short.
    Untold,

    /// The vCPU takes the vector when it runs next.
    Queued,

    /// The vCPU has not taken an earlier vector yet, and this one was *not* queued. Inject it again
    /// when KVM_RUN has returned with `ready_for_interrupt_injection`.
    StillQueued,
}

/// A short text for reports.
impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delivered(taken) => return write!(f, "delivered ({taken})"),
            Self::Coalesced => "coalesced",
            Self::Masked => "masked",
            Self::NoListener => "taken by no local APIC",
            Self::Untranslated => "blocked by the translation",
            Self::NoLowLevel => "a message has no low level",
            Self::Untold => "unknown",
            Self::Queued => "queued",
            Self::StillQueued => "not queued: an earlier vector still is",
        })
    }
}

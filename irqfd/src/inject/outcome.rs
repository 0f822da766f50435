// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Injected`]: what became of an interrupt that was injected.

use std::fmt;

/// What became of an interrupt, as far as the kernel says.
///
/// | | of |
/// |---|---|
/// | [`Delivered`](Self::Delivered) | messages, lines |
/// | [`NoListener`](Self::NoListener), [`Untranslated`](Self::Untranslated) | messages, lines that lead to a message |
/// | [`Coalesced`](Self::Coalesced), [`Masked`](Self::Masked) | lines that lead to pins |
/// | [`NoLowLevel`](Self::NoLowLevel) | lines that lead to a message |
/// | [`Untold`](Self::Untold) | lines, messages on riscv64 |
/// | [`Queued`](Self::Queued), [`StillQueued`](Self::StillQueued) | vectors of a vCPU |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use = "a vector that is `StillQueued` was not taken"]
#[non_exhaustive]
pub enum Injected {
    /// Taken by so many, at least 1. Of a message, on x86: local APICs, of which some may have had
    /// the vector waiting, so that the two merge. Of a line: what its chips answer, added up. For a
    /// low level that is 1 each, though nothing takes it; for a high one a PIC says 1, and the
    /// IOAPIC how many local APICs took it.
    Delivered(u32),

    /// An interrupt of the pin is pending already, and the guest will see one. (KVM says the same
    /// of a pin of the IOAPIC whose interrupt no local APIC took.)
    Coalesced,

    /// The guest has masked the pin, or has not ended its last interrupt. A high level that stays
    /// is seen when the guest unmasks or ends; an edge is lost, where another chip did not take it.
    Masked,

    /// No vCPU has taken the message: none has that APIC id, or its local APIC is switched off.
    NoListener,

    /// The table's translation does not let the message through.
    Untranslated,

    /// The GSI leads to a message, for which level 0 means nothing.
    NoLowLevel,

    /// The kernel does not say (arm64, riscv64); or it says that nothing came of it, and it is not
    /// known where it leads the GSI: no table was committed yet, or it still has the route of a
    /// lease that was dropped.
    Untold,

    /// The vCPU takes the vector when it runs next.
    Queued,

    /// The vCPU has not taken an earlier vector yet, and this one was *not* queued: it is to be
    /// offered again when KVM_RUN has come back with `ready_for_interrupt_injection`.
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

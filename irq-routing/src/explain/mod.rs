// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Explanation`]: how a signal travels from an irqfd to the guest.

mod hint;
pub(crate) mod loss;

use std::fmt;

use hint::Hint;
use loss::Loss;

use crate::route::apic_message::ApicMessage;
use crate::route::kernel_entries::{DumpTarget, of_route, refusals};
use crate::table::slots::Slot;
use crate::{
    EntryKind, Gsi, IrqChip, KernelRoute, MsiMessage, Pin, Pins, Platform, Route, RoutingTable,
};

/// How a signal of an irqfd on one GSI travels, by what KVM does with the routes of that GSI.
///
/// It is text for people who debug a VM, and grows as more is known of KVM, so no code should
/// decide by it; [`RoutingTable::kernel_route`] is for code.
///
/// A signal wakes `irqfd_wakeup` (`virt/kvm/eventfd.c`) in the context of the thread that writes
/// the eventfd. It has the GSI's route at hand if there is exactly one (`irqfd_update`), and asks
/// the architecture to inject it on the spot (`kvm_arch_set_irq_inatomic`). Where that declines, a
/// worker thread goes through all routes of the GSI (`irqfd_inject`), later. If there is none,
/// no caller is told.
///
/// | | x86 | arm64 | riscv64 |
/// |---|---|---|---|
/// | one message | on the spot | on the spot if the ITS has translated it before | on the spot |
/// | one pin | worker | on the spot | on the spot |
/// | several pins | worker | | |
/// | a source of Hyper-V, a channel of Xen | on the spot | | |
///
/// Signals that come before a worker runs are one interrupt. A plain irqfd raises pins and lowers
/// them at once; one that is masked then, or still awaits the EOI of the last interrupt, takes
/// nothing. A resampling irqfd raises them until the guest's EOI.
///
/// What the guest has set up decides about the rest. A pin that it has masked takes nothing, nor
/// does a local APIC that is switched off; a logical destination goes through the worker while the
/// local APICs disagree about the meaning. The first arm64 kernels that are supported leave pins to
/// the worker.
///
/// ```
/// use std::sync::Arc;
/// use irq_routing::{MsiMessage, RoutingTable, Wiring};
/// use notify_sim::SimVm;
///
/// let vm = Arc::new(SimVm::builder().build());
/// let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
/// assert!(table.explain(4u32).to_string().starts_with("unknown: nothing was committed"));
///
/// let lease = table.lease_msi(MsiMessage::new(0xfee0_1000, 0x41))?;
/// assert_eq!(
///     table.explain(lease.gsi()).to_string(),
///     "on the spot: fixed interrupt, vector 0x41, to APIC 1 (physical destination)"
/// );
/// assert_eq!(
///     table.explain(4u32).to_string(),
///     "by a worker thread (several pins): PIC master pin 4, IOAPIC pin 4"
/// );
/// assert_eq!(table.explain(2u32).to_string(), "lost: nothing is routed there");
/// assert!(table.explain(2u32).is_lost());
/// assert_eq!(
///     table.explain(5000u32).to_string(),
///     "lost: the VM has no such GSI (it has 4096), yet KVM takes an irqfd on it"
/// );
/// # Ok::<(), irq_routing::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Explanation {
    way: Way,
    hints: Vec<Hint>,
}

/// How a signal reaches the guest, or that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// It is injected in the context of the thread that signals, before the signalling call
    /// returns.
    InAtomic(Destination),
    /// A worker thread of the kernel injects it later; signals that come before it runs are one.
    Deferred(Delay, Destination),
    /// The guest never sees it, and no caller is told.
    Lost(Loss),
    /// Nothing was ever committed to the table, or a commit was cut short: KVM's own table may be
    /// in place, which no ioctl returns.
    Unknown,
}

/// Where a signal arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Destination {
    /// At a message's destinations, as KVM on x86 reads it.
    Apic(ApicMessage),
    /// As the route says.
    Route(Route),
    /// The dump does not say.
    Untold(EntryKind),
}

/// Why a signal takes the detour through a worker thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Delay {
    /// x86: the emulation of PIC and IOAPIC cannot be entered from anywhere.
    Pin,
    /// KVM has a route at hand only if it is the only one of its GSI.
    SeveralPins,
    /// x86: a message to all local APICs (`kvm_irq_delivery_to_apic_fast` declines).
    Broadcast,
}

impl Explanation {
    /// Returns whether the guest never sees the signal.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self.way, Way::Lost(_))
    }

    pub(crate) const fn lost(reason: Loss) -> Self {
        Self::of(Way::Lost(reason), Vec::new())
    }

    const fn of(way: Way, hints: Vec<Hint>) -> Self {
        Self { way, hints }
    }
}

/// What becomes of a signal of a GSI with these entries. The number of the GSI is in range.
pub(crate) fn targets(platform: Platform, targets: &[DumpTarget]) -> Explanation {
    let [first, others @ ..] = targets else {
        return Explanation::lost(Loss::NoRoute);
    };
    if !refusals(platform, targets).is_empty() {
        return Explanation::lost(Loss::Refused);
    }
    if !others.is_empty() {
        // Pins, one of each chip: KVM takes nothing else together.
        let pins = targets.iter().filter_map(|target| target.pin(platform));
        return match Pins::new(pins) {
            Ok(pins) => deferred(Route::Pins(pins), Delay::SeveralPins),
            Err(_) => Explanation::lost(Loss::Refused),
        };
    }
    match (first.route(platform), first.kind()) {
        (Some(route), _) => alone(platform, route),
        (None, Some(kind)) => {
            let way = Way::InAtomic(Destination::Untold(kind));
            Explanation::of(way, vec![Hint::Untold])
        }
        (None, None) => Explanation::lost(Loss::Refused),
    }
}

/// The only route of its GSI.
fn alone(platform: Platform, route: Route) -> Explanation {
    let on_the_spot = |hints| Explanation::of(Way::InAtomic(Destination::Route(route)), hints);
    match (platform, route) {
        (Platform::X86 | Platform::X86Split, Route::Pins(_)) => deferred(route, Delay::Pin),
        (Platform::X86 | Platform::X86Split, Route::Msi(message)) => apic(message),
        (Platform::Arm64Gic, Route::Pins(_)) => on_the_spot(vec![Hint::NeverLowered]),
        // Kernel source: `vgic_msi_to_its`.
        (Platform::Arm64Gic, Route::Msi(MsiMessage { devid: None, .. })) => {
            Explanation::lost(Loss::NoDeviceId)
        }
        (Platform::Arm64Gic, Route::Msi(_)) => on_the_spot(vec![Hint::Its]),
        (Platform::Riscv64Aia, Route::Pins(pins)) if is_source_0(pins) => {
            Explanation::lost(Loss::NoSource)
        }
        (Platform::Riscv64Aia, Route::Pins(_)) => on_the_spot(vec![Hint::FirstEdgeAlone]),
        _ => on_the_spot(Vec::new()),
    }
}

fn deferred(route: Route, reason: Delay) -> Explanation {
    let way = Way::Deferred(reason, Destination::Route(route));
    Explanation::of(way, Vec::new())
}

/// Kernel source: `kvm_riscv_aia_aplic_inject`.
fn is_source_0(pins: Pins) -> bool {
    let is_zero = |pin: Pin| pin.chip() == IrqChip::Aplic && pin.number() == 0;
    pins.iter().any(is_zero)
}

/// A message on x86.
fn apic(message: MsiMessage) -> Explanation {
    let decoded = ApicMessage::decode(message);
    let hints = hint::of_apic_message(message, decoded);
    let to = Destination::Apic(decoded);
    let way = match loss::of_apic_message(decoded) {
        Some(reason) => Way::Lost(reason),
        // KVM's constant for all is 8 bits wide, whatever the destination's width.
        None if decoded.destination == 0xff => Way::Deferred(Delay::Broadcast, to),
        None => Way::InAtomic(to),
    };
    Explanation::of(way, hints)
}

impl RoutingTable {
    /// How a signal of a GSI travels, by the table as committed. A message is explained as the
    /// table's translation, which is called for that, has it now.
    #[must_use]
    pub fn explain(&self, gsi: impl Into<u32>) -> Explanation {
        let limit = self.limit();
        let Some(gsi) = Gsi::below(limit, gsi.into()) else {
            return Explanation::lost(Loss::OutOfRange { limit });
        };
        let state = self.lock();
        let (slot, kernel_route) = (state.slots.get(gsi), state.kernel_route(gsi));
        drop(state);
        match kernel_route {
            KernelRoute::Unknown => Explanation::of(Way::Unknown, Vec::new()),
            KernelRoute::Blocked => Explanation::lost(Loss::Blocked),
            KernelRoute::Routed(route) => {
                let route = self.shared().translated(route).unwrap_or(route);
                let entries: Vec<_> = of_route(&route).map(DumpTarget::from).collect();
                let mut explanation = targets(self.platform(), &entries);
                if let Slot::Parked { .. } = slot {
                    explanation.hints.push(Hint::Parked);
                }
                explanation
            }
            KernelRoute::Stale => Explanation::lost(Loss::Stale),
            KernelRoute::Unrouted if matches!(slot, Slot::Free) => Explanation::lost(Loss::NoRoute),
            KernelRoute::Unrouted => Explanation::lost(Loss::Unrouted),
        }
    }
}

/// In one line. With `{:#}` each thing that is worth knowing about the route has a line of its own.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Way::InAtomic(to) => write!(f, "on the spot: {to}")?,
            Way::Deferred(reason, to) => write!(f, "by a worker thread ({reason}): {to}")?,
            Way::Lost(reason) => write!(f, "lost: {reason}")?,
            Way::Unknown => {
                f.write_str("unknown: nothing was committed, and KVM's own table may be in place")?
            }
        }
        let between = if f.alternate() { "\n" } else { "; " };
        let mut hints = self.hints.iter();
        hints.try_for_each(|hint| write!(f, "{between}{hint}"))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apic(message) => message.fmt(f),
            Self::Route(route) => route.fmt(f),
            Self::Untold(kind) => f.write_str(kind.name()),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin => "a pin",
            Self::SeveralPins => "several pins",
            Self::Broadcast => "a broadcast",
        })
    }
}

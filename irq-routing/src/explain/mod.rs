// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Explanation`]: how a signal of an irqfd reaches the guest.

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

/// How a signal of an irqfd on one GSI reaches the guest, or why KVM loses it.
///
/// It is text for people who debug a VM, and its wording may change. Code that decides uses
/// [`RoutingTable::kernel_route`] instead.
///
/// A signal runs `irqfd_wakeup` (`virt/kvm/eventfd.c`) in the context of the thread that writes the
/// eventfd. If the GSI has exactly one route, KVM tries to inject it on the spot: before the write
/// returns (`irqfd_update`, `kvm_arch_set_irq_inatomic`). Otherwise a worker thread injects all
/// routes of the GSI later (`irqfd_inject`). If there is no route, the signal is lost without an
/// error.
///
/// | | x86 | arm64 | riscv64 |
/// |---|---|---|---|
/// | one message | on the spot | on the spot if the ITS has translated it before | on the spot |
/// | one pin | worker | on the spot | on the spot |
/// | several pins | worker | | |
/// | a source of Hyper-V, a channel of Xen | on the spot | | |
///
/// Signals that arrive before the worker runs are coalesced into one interrupt. A plain irqfd
/// raises pins and lowers them at once; a pin that is masked then, or that still awaits an EOI,
/// loses the signal. A resampling irqfd raises them until the guest's EOI.
///
/// The rest depends on the guest. A masked pin loses the signal, as does a local APIC that is
/// switched off. A logical destination is handled by the worker while the local APICs use different
/// logical modes. On arm64, the oldest supported kernels handle pins in the worker too.
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
/// assert_eq!(table.explain(2u32).to_string(), "lost: the GSI has no route");
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

/// How a signal reaches the guest, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    /// It is injected in the context of the thread that signals, before its write returns.
    InAtomic(Destination),
    /// A worker thread of the kernel injects it later; signals that arrive before it runs are
    /// coalesced.
    Deferred(Delay, Destination),
    /// The guest never gets it, and no call returns an error.
    Lost(Loss),
    /// Nothing was ever committed to the table, or the VM panicked during a commit: KVM's default
    /// table may be in place, which no ioctl returns.
    Unknown,
}

/// What a signal is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Destination {
    /// The destinations of a message, as KVM on x86 reads it.
    Apic(ApicMessage),
    /// The route.
    Route(Route),
    /// The dump has only the kind of the entry.
    Untold(EntryKind),
}

/// Why a worker thread injects the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Delay {
    /// x86: the PICs and the IOAPIC cannot be emulated in the context of any thread.
    Pin,
    /// KVM injects at once only if the GSI has exactly one route.
    SeveralPins,
    /// x86: a message to all local APICs (`kvm_irq_delivery_to_apic_fast` declines).
    Broadcast,
}

impl Explanation {
    /// Returns whether the guest never gets the signal.
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

/// Explains a GSI with these entries. The number of the GSI is in range.
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
    /// Returns how a signal of a GSI reaches the guest, or why it is lost, by the committed table.
    ///
    /// A message is explained after the table's translation, which this calls on the caller's
    /// thread.
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

/// Prints one line. With `{:#}` each hint about the route has a line of its own.
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

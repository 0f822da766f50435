// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The routing table: what KVM_SET_GSI_ROUTING accepts, and what a GSI is routed to.
//!
//! Kernel source: `kvm_set_irq_routing` in `virt/kvm/irqchip.c`.

use std::io;

use kvm_bindings::{KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_MSI_VALID_DEVID};

use super::interrupt::{IOAPIC, PIC_MASTER, PIC_SLAVE};
use super::{Profile, errno, raw::RoutingEntry};
use notify_core::{MsiMessage, RouteTarget};

/// The number of GSIs, and of routes.
pub(super) const LIMIT: u32 = 4096;
/// The end of a chain of routes.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Route {
    gsi: u32,
    target: RouteTarget,
    /// The next route of the same GSI.
    next: u32,
}

/// A whole table. A GSI has one message, or at most one pin of each chip.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// In the order of the request.
    routes: Vec<Route>,
    /// The first route of each GSI, up to the highest that has one.
    first: Vec<u32>,
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The pin that an entry names; EINVAL if this VM has no such pin.
fn pin(profile: Profile, chip: u32, pin: u32) -> io::Result<RouteTarget> {
    let pins = match (profile, chip) {
        (Profile::X86, PIC_MASTER | PIC_SLAVE) => 8,
        (Profile::X86, IOAPIC) => 24,
        (Profile::Arm64Gic { .. }, 0) => 988,
        (Profile::Riscv64Aia { .. }, 0) => 1024,
        _ => 0,
    };
    if pin < pins {
        Ok(RouteTarget::Pin { chip, pin })
    } else {
        Err(errno(libc::EINVAL))
    }
}

/// Whether x86 refuses a message for the high half of its address.
pub(super) fn bad_address(address: u64, x2apic_ids: bool) -> bool {
    x2apic_ids && address >> 32 & 0xff != 0
}

impl Routes {
    /// Checks and takes a whole table.
    pub(super) fn new(
        profile: Profile,
        x2apic_ids: bool,
        entries: impl Iterator<Item = RoutingEntry> + Clone,
    ) -> io::Result<Self> {
        let mut table = Self::default();
        let mut gsis = 0;
        for entry in entries.clone() {
            if entry.gsi >= LIMIT {
                return Err(errno(libc::EINVAL));
            }
            gsis = gsis.max(entry.gsi + 1);
        }
        table.first.resize(index(gsis), NONE);
        table.routes.reserve(entries.size_hint().0);
        for entry in entries {
            table.add(profile, x2apic_ids, &entry)?;
        }
        Ok(table)
    }

    fn add(&mut self, profile: Profile, x2apic_ids: bool, entry: &RoutingEntry) -> io::Result<()> {
        let invalid = || errno(libc::EINVAL);
        let [u0, u1, u2, u3, ..] = entry.u;
        let known = match entry.kind {
            KVM_IRQ_ROUTING_MSI => KVM_MSI_VALID_DEVID,
            _ => 0,
        };
        if entry.flags & !known != 0 {
            return Err(invalid());
        }
        let target = match entry.kind {
            KVM_IRQ_ROUTING_IRQCHIP => pin(profile, u0, u1)?,
            KVM_IRQ_ROUTING_MSI => {
                let address = u64::from(u1) << 32 | u64::from(u0);
                if profile.is_x86() && bad_address(address, x2apic_ids) {
                    return Err(invalid());
                }
                RouteTarget::Msi(MsiMessage {
                    address,
                    data: u2,
                    devid: (entry.flags & KVM_MSI_VALID_DEVID != 0).then_some(u3),
                })
            }
            _ => return Err(invalid()),
        };
        let mut last = NONE;
        let mut at = self.first(entry.gsi);
        while let Some(route) = self.routes.get(index(at)) {
            match (route.target, target) {
                (RouteTarget::Pin { chip: one, .. }, RouteTarget::Pin { chip: other, .. })
                    if one != other => {}
                _ => return Err(invalid()),
            }
            last = at;
            at = route.next;
        }
        let new = u32::try_from(self.routes.len()).map_err(|_| invalid())?;
        if let Some(last) = self.routes.get_mut(index(last)) {
            last.next = new;
        } else if let Some(first) = self.first.get_mut(index(entry.gsi)) {
            *first = new;
        }
        self.routes.push(Route {
            gsi: entry.gsi,
            target,
            next: NONE,
        });
        Ok(())
    }

    /// The table that the kernel installs by itself. On x86 GSI n is routed to the IOAPIC's pin n,
    /// and up to 15 to the PICs' too; elsewhere to pin n.
    pub(super) fn default_of(profile: Profile) -> Self {
        let entry = |gsi, chip, pin| RoutingEntry {
            gsi,
            kind: KVM_IRQ_ROUTING_IRQCHIP,
            u: [chip, pin, 0, 0, 0, 0, 0, 0],
            ..RoutingEntry::default()
        };
        let pc = |gsi| {
            let pic = (gsi < 16).then(|| entry(gsi, gsi / 8, gsi % 8));
            std::iter::once(entry(gsi, IOAPIC, gsi)).chain(pic)
        };
        let identity = |pins: u32| Self::new(profile, false, (0..pins).map(|n| entry(n, 0, n)));
        let table = match profile {
            Profile::X86 => Self::new(profile, false, (0..24).flat_map(pc)),
            Profile::Arm64Gic { spis } => identity(spis.min(988)),
            Profile::Riscv64Aia { sources } => identity(sources.saturating_add(1).min(1024)),
            Profile::X86Split { .. } | Profile::None => return Self::default(),
        };
        table.unwrap_or_default()
    }

    fn first(&self, gsi: u32) -> u32 {
        self.first.get(index(gsi)).copied().unwrap_or(NONE)
    }

    /// The routes of a GSI, at most one for each of three chips.
    pub(super) fn of(&self, gsi: u32) -> [Option<RouteTarget>; 3] {
        let mut targets = [None; 3];
        let mut at = self.first(gsi);
        for slot in &mut targets {
            let Some(route) = self.routes.get(index(at)) else {
                break;
            };
            *slot = Some(route.target);
            at = route.next;
        }
        targets
    }

    /// The one GSI that gets an EOI of a pin: the last in the table that is routed to it.
    pub(super) fn gsi_of(&self, chip: u32, pin: u32) -> Option<u32> {
        let target = RouteTarget::Pin { chip, pin };
        let mut last_first = self.routes.iter().rev();
        last_first
            .find(|route| route.target == target)
            .map(|route| route.gsi)
    }
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The kernel's side of KVM_SET_GSI_ROUTING: a buffer, and refusals on request.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use irq_routing::{MsiMessage, Platform, Route, RoutingTable, Wiring};
use kvm_test::Recorder;
use notify_core::{Extension, RouteEntry, RouteTarget};

/// How many GSIs there are, and how many entries.
pub(crate) const LIMIT: u32 = 4;

/// The routes of GSIs.
pub(crate) type Routes = BTreeMap<u32, Route>;

#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// The last table that was accepted, sorted; none if there was no ioctl.
    pub(crate) buffer: Option<Vec<(u32, Entry)>>,
    /// Which of the next ioctls are refused, one bit for each, and with which errno.
    pub(crate) refusals: u64,
    pub(crate) errno: i32,
    /// Tables with a message of this data are refused (EINVAL).
    pub(crate) refused_data: Option<u32>,
    /// How many ioctls there were since the last look.
    pub(crate) ioctls: u32,
}

/// An entry in a form that has an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Pin(u32, u32),
    Msi(u64, u32),
}

impl Kernel {
    /// A table whose ioctls go to this kernel, without any route.
    pub(crate) fn table() -> (Arc<Mutex<Self>>, RoutingTable) {
        let vm = Arc::new(Recorder::default());
        vm.has(Platform::X86);
        vm.answer(Extension::IrqRouting, LIMIT);
        let kernel = Arc::new(Mutex::new(Self::default()));
        let of_vm = Arc::clone(&kernel);
        vm.on_routes(move |entries| of_vm.lock().unwrap().set(entries));
        let builder = RoutingTable::builder(vm).wiring(Wiring::none(Platform::X86));
        (kernel, builder.reserved_gsis(0).build().unwrap())
    }

    /// The rules of `kvm_set_irq_routing` and `setup_routing_entry` in `virt/kvm/irqchip.c` are
    /// never broken.
    fn set(&mut self, entries: &[RouteEntry]) -> io::Result<()> {
        self.ioctls += 1;
        let mut table: Vec<_> = entries
            .iter()
            .map(|one| (one.gsi, entry(one.target)))
            .collect();
        table.sort_unstable();
        assert!(table.len() <= LIMIT as usize, "{table:?}");
        assert!(table.iter().all(|(gsi, _)| *gsi < LIMIT), "{table:?}");
        for pair in table.windows(2) {
            let ok = match (pair[0], pair[1]) {
                ((one, Entry::Pin(chip, _)), (gsi, Entry::Pin(other, _))) => {
                    one != gsi || chip != other
                }
                ((one, _), (other, _)) => one != other,
            };
            assert!(ok, "{table:?}");
        }
        let refused = self.refusals & 1 != 0;
        self.refusals >>= 1;
        let has = |data: u32| {
            let mut targets = table.iter().map(|(_, target)| target);
            targets.any(|target| matches!(target, Entry::Msi(_, found) if *found == data))
        };
        if self.refused_data.is_some_and(has) {
            return Err(io::Error::from_raw_os_error(22));
        }
        if refused {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        self.buffer = Some(table);
        Ok(())
    }
}

fn entry(target: RouteTarget) -> Entry {
    match target {
        RouteTarget::Pin { chip, pin } => Entry::Pin(chip, pin),
        RouteTarget::Msi(MsiMessage { address, data, .. }) => Entry::Msi(address, data),
        other => panic!("{other:?}"),
    }
}

/// The entries that the kernel must have for these routes.
pub(crate) fn entries(routes: &Routes) -> Vec<(u32, Entry)> {
    let of_route = |(gsi, route): (&u32, &Route)| {
        let gsi = *gsi;
        let all = match route {
            Route::Msi(message) => vec![Entry::Msi(message.address, message.data)],
            Route::Pins(pins) => {
                let pins = pins.iter();
                pins.map(|pin| Entry::Pin(pin.chip().number(), pin.number()))
                    .collect()
            }
            other => panic!("{other:?}"),
        };
        all.into_iter().map(move |entry| (gsi, entry))
    };
    let mut all: Vec<_> = routes.iter().flat_map(of_route).collect();
    all.sort_unstable();
    all
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Layouts of virtio devices with any numbers, beside a model in numbers that have no end. The
//! doorbells of a layout ring when a driver writes to them, and only the queue that it wrote to.

use std::collections::BTreeSet;
use std::sync::Arc;

use ioeventfd::virtio::{
    LayoutError, Notification, NotifyCapability, PciModern, PciQueue, QueueDoorbell, mmio,
    pci_legacy,
};
use ioeventfd::{Datamatch, DoorbellRegistry, DoorbellSet, IoAddress, Width, Window};
use notify_core::EventNotifier;

use super::Reading;
use super::memory::bounded;
use super::tree::Tree;
use super::vm::Watched;

pub(super) fn valid(shape: u16) -> Tree {
    // With notification data, queues at one address cannot be distinguished.
    let more = if shape & 4 == 0 { shape >> 5 & 3 } else { 0 };
    let queue = |n: u16| Tree::list(&[n, if shape & 8 == 0 { n } else { 0 }, n]);
    // The usual length, or the shortest.
    let length = if shape & 0x80 == 0 {
        0x1000
    } else {
        4 * (more + 1)
    };
    Tree::map([
        ("transport", Tree::number(shape % 3)),
        ("data", Tree::number(shape >> 2 & 1)),
        ("any_width", Tree::number(shape >> 4 & 1)),
        (
            "base",
            Tree::number(if shape % 3 == 2 {
                0xc000
            } else {
                0xd000_0000_u64
            }),
        ),
        ("offset", Tree::number(0x3000)),
        ("length", Tree::number(length)),
        ("multiplier", Tree::number(4)),
        ("bar_size", Tree::number(0x4000)),
        ("queues", Tree::List((0..=more).map(queue).collect())),
    ])
}

/// No guest has longer physical addresses: MAXPHYADDR, FEAT_LPA2, Sv57x4.
const PHYSICAL: u128 = if cfg!(target_arch = "riscv64") {
    1 << 59
} else {
    1 << 52
};

struct Device {
    data: bool,
    any_width: bool,
    base: u64,
    capability: NotifyCapability,
    bar_size: u64,
    queues: Vec<PciQueue>,
}

impl Device {
    fn of(tree: &Tree) -> Self {
        let number = |name: &str| tree.field(name).map_or(0, Tree::as_u64);
        let queue = |tree: &Tree| {
            let [index, notify_off, value] = match tree.as_numbers()[..] {
                [index, notify_off, value, ..] => [index, notify_off, value],
                _ => [tree.as_u64(); 3],
            };
            let mut queue = PciQueue::new(index as u16, notify_off as u16);
            queue.value = value as u16;
            queue
        };
        let queues = match tree.field("queues") {
            Some(Tree::List(queues)) => queues.iter().map(queue).collect(),
            _ => Vec::new(),
        };
        Self {
            data: number("data") & 1 != 0,
            any_width: number("any_width") & 1 != 0,
            base: number("base"),
            capability: NotifyCapability {
                offset: number("offset") as u32,
                length: number("length") as u32,
                multiplier: number("multiplier") as u32,
            },
            bar_size: number("bar_size"),
            queues,
        }
    }

    fn notification(&self) -> Notification {
        match self.data {
            true => Notification::Data,
            false => Notification::Index,
        }
    }

    fn indices(&self) -> Vec<u16> {
        self.queues.iter().map(|queue| queue.index).collect()
    }

    fn modern(&self, vm: &Watched) -> Result<Vec<QueueDoorbell>, LayoutError> {
        let layout = PciModern::new(self.capability, self.bar_size, self.notification())?;
        let layout = match self.any_width {
            true => layout.any_width(vm).expect("it knows its extensions"),
            false => layout,
        };
        layout.doorbells(IoAddress::Mmio(self.base), self.queues.iter().copied())
    }

    /// Where the doorbells of a modern device are, if VIRTIO 1.3, 4.1.4.4.1, allows them.
    fn modern_model(&self) -> Option<Vec<u128>> {
        let wide = |number: u32| u128::from(number);
        let (offset, length) = (wide(self.capability.offset), wide(self.capability.length));
        let (multiplier, bar) = (wide(self.capability.multiplier), u128::from(self.base));
        let bytes = if self.data { 4 } else { 2 };
        let at = |queue: &PciQueue| u128::from(queue.notify_off) * multiplier;
        let fits = length >= bytes
            && offset % bytes == 0
            && (multiplier == 0 || multiplier.count_ones() == 1 && multiplier >= bytes)
            && offset + length <= self.bar_size.into()
            && bar % bytes == 0
            && bar + u128::from(self.bar_size) <= 1 << 64
            && self.queues.iter().all(|queue| at(queue) + bytes <= length)
            && are_distinct(self.indices());
        let places: Vec<u128> = self.queues.iter().map(at).collect();
        let is_shared = !are_distinct(places.clone());
        let with_values = places.iter().zip(&self.queues);
        let differ = are_distinct(with_values.map(|(at, queue)| (*at, queue.value)).collect());
        let fits = fits && differ && !(is_shared && self.data);
        let places = places.iter().map(|at| bar + offset + at);
        let fits = fits && places.clone().all(|at| at < PHYSICAL);
        fits.then(|| places.collect())
    }
}

fn are_distinct<T: Ord>(items: Vec<T>) -> bool {
    let count = items.len();
    items.into_iter().collect::<BTreeSet<_>>().len() == count
}

pub(super) fn read(reading: &Reading<'_>) {
    let Some(tree) = reading.tree else {
        return;
    };
    let device = Device::of(tree);
    let vm = Watched::bare();
    let len = 64 * device.queues.len();
    let transport = tree.field("transport").map_or(0, Tree::as_u64) % 3;
    let base = u128::from(device.base);
    let are_distinct = are_distinct(device.indices());
    let (bells, model) = match transport {
        0 => (bounded(len, || device.modern(&vm)), device.modern_model()),
        1 => {
            let bells = bounded(len, || {
                mmio(device.base, device.indices(), device.notification())
            });
            let one = device.queues.len() < 2 || !device.data;
            let fits = base % 4 == 0 && base + 0x50 < PHYSICAL && are_distinct && one;
            (bells, fits.then(|| vec![base + 0x50; device.queues.len()]))
        }
        _ => {
            let base = device.base as u16;
            let bells = bounded(len, || pci_legacy(base, device.indices()));
            let fits = u32::from(base) + 0x12 <= 0x1_0000 && are_distinct;
            (
                bells,
                fits.then(|| vec![u128::from(base) + 0x10; device.queues.len()]),
            )
        }
    };
    assert!(model.is_some() || !reading.valid);
    match (bells, model) {
        (Ok(bells), Some(model)) => {
            let found = bells.iter().map(|bell| u128::from(bell.address.number()));
            assert!(found.eq(model), "{bells:?}");
            let is_data = device.data && transport != 2;
            ring(&vm, &device, &bells, (is_data, transport == 0));
        }
        (Err(error), None) => super::saved::expect_short(&error),
        (bells, model) => panic!("{bells:?}, not {model:?}"),
    }
    windows(&vm, &device, reading.shape);
}

/// A driver writes to each doorbell, and its queue's notifier alone is signalled once.
fn ring(vm: &Arc<Watched>, device: &Device, bells: &[QueueDoorbell], (data, modern): (bool, bool)) {
    let bells = &bells[..bells.len().min(8)];
    let registry = DoorbellRegistry::new(vm.clone(), &[]);
    let set = DoorbellSet::new(&registry);
    let notifier = || Arc::new(EventNotifier::new().expect("descriptors"));
    let notifiers: Vec<_> = bells.iter().map(|_| notifier()).collect();
    let bells = bells.iter().zip(&notifiers);
    let doorbells = bells
        .clone()
        .map(|(bell, notifier)| bell.signalling(Arc::clone(notifier)));
    // Doorbells of any width need a distance.
    let Ok(plan) = set.plan(doorbells) else {
        let is_any = |bell: &QueueDoorbell| bell.datamatch == Datamatch::AnyWrite;
        assert!(bells.clone().any(|(bell, _)| is_any(bell)));
        return;
    };
    set.apply(plan).expect("the kernel has no other doorbells");
    set.start().expect("as before");
    for (n, (bell, _)) in bells.enumerate() {
        let queue = device.queues[n];
        let value = if modern { queue.value } else { queue.index };
        let width = match bell.address {
            IoAddress::Pio(_) => 2,
            _ if data || !modern => 4,
            _ => 2,
        };
        // The position in the ring is in the upper half.
        let value = if data {
            u32::from(queue.index) | 7 << 16
        } else {
            value.into()
        };
        let bytes = &value.to_le_bytes()[..width];
        vm.sim
            .guest_write(bell.address.bus(), bell.address.number(), bytes);
        for (other, notifier) in notifiers.iter().enumerate() {
            let signals = notifier
                .consume()
                .expect("it can be read")
                .map_or(0, u64::from);
            assert_eq!(signals, u64::from(other == n), "queue {other} for {n}");
        }
        if data {
            assert_eq!(
                bell.datamatch.bytes(),
                if device.any_width && modern {
                    bell.datamatch.bytes()
                } else {
                    4
                }
            );
        }
        assert!(bell.datamatch != Datamatch::Width(Width::W1));
    }
    let stopped = set.stop().expect("the kernel removes what it has");
    assert!(stopped.leftovers.is_empty());
}

/// Windows with any numbers: a doorbell in one is refused, and one beside it is not.
fn windows(vm: &Arc<Watched>, device: &Device, shape: u16) {
    let count = device.capability.multiplier;
    let windows = match shape & 0x100 {
        0 => Window::gicv3(device.base, &[(device.bar_size, count)], &[device.base / 2]),
        _ => Window::aia(device.base, &[device.bar_size, u64::MAX]),
    };
    let registry = DoorbellRegistry::new(vm.clone(), &windows);
    let set = DoorbellSet::new(&registry);
    let at = IoAddress::Mmio(device.base & !1);
    let notifier = Arc::new(EventNotifier::new().expect("descriptors"));
    let bell = ioeventfd::Doorbell::new(0, at, Datamatch::Width(Width::W2), notifier);
    assert!(set.plan([bell]).is_err(), "a doorbell in a window");
    for width in [0, 1, 2, 3, 4, 8, count] {
        let matched = Datamatch::new(width, Some(device.bar_size));
        let fits = [1, 2, 4, 8].contains(&width) && device.bar_size >> (8 * width - 1) <= 1;
        assert_eq!(
            matched.is_ok(),
            fits,
            "{matched:?} of {width}, {:#x}",
            device.bar_size
        );
    }
}

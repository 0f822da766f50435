// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Doorbells and memory slots of eight devices that are brought up, in three orders.
//!
//! Since Linux 6.18 a memory slot that is set after a doorbell was registered waits for a grace
//! period.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use ioeventfd::{Datamatch, Doorbell, DoorbellRegistry, DoorbellSet, IoAddress, Width};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VmFd};
use notify_core::{EventNotifier, KvmVm, Vm as _};

use crate::measure::median;
use crate::row::Row;

const DEVICES: u32 = 8;
const QUEUES: u64 = 8;
const ROUNDS: usize = 5;
/// Where the first device has its doorbells, and where its memory is.
const DOORBELLS: u64 = 0xd000_0000;
const MEMORY: u64 = 0xe000_0000;
const APART: u64 = 0x10_0000;

#[repr(C, align(4096))]
struct Page([u8; 0x1000]);

/// A VM without vCPUs, and the page that backs all its memory slots.
struct Vm {
    sets: Vec<DoorbellSet>,
    kvm: Arc<KvmVm>,
    fd: VmFd,
    page: Box<Page>,
}

impl Vm {
    fn new() -> Result<Self, Box<dyn Error>> {
        let fd = Kvm::new()?.create_vm()?;
        let kvm = Arc::new(KvmVm::try_from(&fd)?);
        let registry = DoorbellRegistry::new(kvm.clone(), &[]);
        Ok(Self {
            sets: (0..DEVICES).map(|_| DoorbellSet::new(&registry)).collect(),
            kvm,
            fd,
            page: Box::new(Page([0; 0x1000])),
        })
    }

    #[allow(unsafe_code)]
    fn set_slot(&self, device: u32) -> Result<(), Box<dyn Error>> {
        let region = kvm_userspace_memory_region {
            slot: device,
            flags: 0,
            guest_phys_addr: MEMORY + u64::from(device) * APART,
            memory_size: size_of::<Page>() as u64,
            userspace_addr: (&raw const self.page.0) as u64,
        };
        // SAFETY: the page is a whole one. The VM has no vCPU that could reach it, and all
        // descriptors of the VM are dropped before it, since fields are dropped in order.
        Ok(unsafe { self.fd.set_user_memory_region(region) }?)
    }

    fn register(&self, device: u32, notifier: &Arc<EventNotifier>) -> Result<(), Box<dyn Error>> {
        let set = self.sets.get(device as usize).ok_or("no such device")?;
        let base = DOORBELLS + u64::from(device) * APART;
        let one = |queue| {
            let address = IoAddress::Mmio(base + queue * 4);
            let datamatch = Datamatch::Width(Width::W2);
            Doorbell::new(queue, address, datamatch, Arc::clone(notifier))
        };
        set.apply(set.plan((0..QUEUES).map(one))?)?;
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kvm.retire();
    }
}

#[derive(Clone, Copy)]
enum Order {
    DeviceByDevice,
    DoorbellsFirst,
    SlotsFirst,
}

fn bring_up(order: Order) -> Result<f64, Box<dyn Error>> {
    let (vm, notifier) = (Vm::new()?, Arc::new(EventNotifier::new()?));
    let mut doorbells = (0..DEVICES).map(|device| vm.register(device, &notifier));
    let mut slots = (0..DEVICES).map(|device| vm.set_slot(device));
    let start = Instant::now();
    match order {
        Order::DeviceByDevice => doorbells
            .zip(slots)
            .try_for_each(|(doorbells, slot)| doorbells.and(slot))?,
        Order::DoorbellsFirst => {
            doorbells.try_for_each(|done| done)?;
            slots.try_for_each(|done| done)?;
        }
        Order::SlotsFirst => {
            slots.try_for_each(|done| done)?;
            doorbells.try_for_each(|done| done)?;
        }
    }
    Ok(start.elapsed().as_secs_f64() * 1e9)
}

/// All slots first, against the doorbells and the slot of each device in turn.
pub(crate) fn slots_first() -> Result<Row, Box<dyn Error>> {
    let (mut first, mut by_device, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        first.push(bring_up(Order::SlotsFirst)?);
        by_device.push(bring_up(Order::DeviceByDevice)?);
        last.push(bring_up(Order::DoorbellsFirst)?);
    }
    let last = median(last) / 1e6;
    Ok(Row::times(
        "device by device",
        median(first),
        median(by_device),
        format!("64 doorbells and 8 memory slots, slots first; doorbells first {last:.2} ms"),
    ))
}

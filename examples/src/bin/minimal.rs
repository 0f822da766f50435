// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A small VMM on `/dev/kvm`, to copy from: what devices need of the crates, and in which order.
//!
//! The disk is a virtio-mmio device with a doorbell and a level-triggered line. The network card is
//! a PCI device with two doorbells in a BAR and two MSI-X vectors: the VMM triggers one, and the
//! eventfd of the other would go to vhost. In each round the guest kicks each queue, moves the BAR
//! meanwhile, and waits for three interrupts. Halfway through, the VM is saved and restored as a
//! new VM. The guest is x86-64 code; on other processors `../x86_64_only.rs` prints that it cannot
//! run.

use std::error::Error;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use examples::driver::{BARS, CONFIG_BAR, CONFIG_MSIX, DISK, Driver, PIN, ROUNDS, SERVED};
use ioeventfd::virtio::{self, Notification, NotifyCapability, PciModern, PciQueue, QueueDoorbell};
use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
use irq_routing::RoutingTable;
use irqfd::{ArmQueue, Dead, LevelIrq, LevelLine, msix};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use notify_core::{EventNotifier, KvmVm};
use tiny_guest::{Exit, Machine, Vcpu};

type Kicks = [Arc<EventNotifier>];
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// InterruptStatus and InterruptACK of the disk.
const STATUS: u64 = DISK + 0x60;
const ACK: u64 = DISK + 0x64;
const BAR_SIZE: u64 = 0x4000;
const NOTIFY: NotifyCapability = NotifyCapability {
    offset: 0x3000,
    length: 0x1000,
    multiplier: 4,
};

/// The devices of a VM. The kicks are those of the disk's queue and the card's two.
struct Devices {
    disk_bells: DoorbellSet,
    disk_irq: LevelIrq,
    net_bells: DoorbellSet,
    msix: msix::Table,
    arm_queue: ArmQueue,
    kicks: [Arc<EventNotifier>; 3],
    bar: AtomicU64,
}

impl Devices {
    fn new(machine: &Machine, bar: u64) -> Result<Self> {
        let vm = Arc::new(KvmVm::try_from(machine.vm())?);
        // One of each for a VM. Other code registers no doorbells, and sets no routes.
        let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
        let routing = RoutingTable::new(vm)?;
        let arm_queue = ArmQueue::new(&routing)?;
        let kick = || EventNotifier::new().map(Arc::new);
        let kicks = [kick()?, kick()?, kick()?];

        let bells = virtio::mmio(DISK, [0], Notification::Index)?;
        let disk_bells = wire(&registry, bells, &kicks[..1])?;
        // Other devices that share the pin join the same line.
        let line = LevelLine::builder(routing.line(PIN.into())?).build()?;

        let layout = PciModern::new(NOTIFY, BAR_SIZE, Notification::Index)?;
        let queues = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
        let bells = layout.doorbells(IoAddress::Mmio(bar), queues)?;
        let net_bells = wire(&registry, bells, &kicks[1..])?;
        let msix = msix::Table::builder(&routing).vectors(2);
        let msix = msix.queue(&arm_queue).build()?;
        msix.vectors()[1].export()?; // this notifier would go to vhost
        Ok(Self {
            disk_bells,
            disk_irq: line.join()?,
            net_bells,
            msix,
            arm_queue,
            kicks,
            bar: AtomicU64::new(bar),
        })
    }

    /// The VMM's event loop, until `stop` is signalled.
    fn serve(&self, stop: &EventNotifier) -> Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let [disk, rx, tx] = self.kicks.each_ref().map(|kick| kick.as_fd());
        let fds = [disk, rx, tx, self.arm_queue.as_fd(), stop.as_fd()];
        for (index, fd) in (0..).zip(fds) {
            epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, index))?;
        }
        loop {
            let mut event = [EpollEvent::empty()];
            match epoll.wait(&mut event, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                ready => ready?,
            };
            match event[0].data() as usize {
                // Arms the vectors that the guest has unmasked, all of them with one ioctl.
                3 => report(&self.arm_queue.run_pending().failed),
                4 => return Ok(()),
                queue => {
                    // A real device would process the queue's ring here. Then it interrupts the
                    // guest.
                    let kicks = self.kicks[queue].consume()?.map_or(0, u64::from);
                    SERVED[queue].fetch_add(kicks, Relaxed);
                    match (queue, self.msix.vectors()[1].notifier()) {
                        (0, _) => self.disk_irq.assert()?,
                        (2, Some(vhost)) => vhost.notify()?,
                        _ => drop(self.msix.vectors()[0].trigger()?),
                    }
                }
            }
        }
    }

    fn mmio_write(&self, address: u64, data: &[u8]) -> Result<()> {
        for bells in [&self.disk_bells, &self.net_bells] {
            if bells.on_exit_write(IoAddress::Mmio(address), data)? == AfterExit::Resume {
                return Ok(());
            }
        }
        match address {
            ACK => self.disk_irq.deassert()?,
            _ => report(&self.msix.write(self.in_bar(address), data)),
        }
        Ok(())
    }

    fn mmio_read(&self, address: u64, data: &mut [u8]) {
        data.fill(0);
        match (address, data) {
            (STATUS, [low, ..]) => *low = self.disk_irq.is_asserted().into(),
            (_, data) => self.msix.read(self.in_bar(address), data),
        }
    }

    fn in_bar(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bar.load(Relaxed))
    }

    fn move_bar(&self, to: u64) -> Result<()> {
        let (bells, from) = (&self.net_bells, self.bar.swap(to, Relaxed));
        let moved = bells.relocate(IoAddress::Mmio(from), BAR_SIZE, IoAddress::Mmio(to))?;
        // This thread runs the only vCPU, so no kick is in flight to the old place.
        Ok(bells.vcpus_passed(moved)?)
    }

    /// Runs the vCPU until the guest has moved the BAR `moves` times, or to its end.
    fn run_vcpu(&self, vcpu: &mut Vcpu, mut moves: u32) -> Result<()> {
        while moves > 0 {
            match vcpu.run()? {
                Exit::MmioWrite { address, data } => self.mmio_write(address, data)?,
                Exit::MmioRead { address, data } => self.mmio_read(address, data),
                Exit::PortWrite { port, data } if port == CONFIG_MSIX => {
                    report(&self.msix.config_write(2, data));
                }
                Exit::PortWrite { port, data } if port == CONFIG_BAR => {
                    self.move_bar(u32::from_le_bytes(data.try_into()?).into())?;
                    moves -= 1;
                }
                Exit::Finished(0) => return Ok(()),
                other => return Err(format!("the guest ended with {other:?}").into()),
            }
        }
        Ok(())
    }
}

fn wire(all: &DoorbellRegistry, bells: Vec<QueueDoorbell>, kicks: &Kicks) -> Result<DoorbellSet> {
    // Makes BAR moves quicker. Kicks that exit meanwhile go to `on_exit_write`.
    let set = DoorbellSet::new(all).removals_first();
    let bells = bells.into_iter().zip(kicks);
    let bells = bells.map(|(bell, kick)| bell.signalling(kick.clone()));
    set.apply(set.plan(bells)?)?;
    Ok(set)
}

/// KVM refused the message that the guest gave to these vectors. The VM goes on without them.
fn report(dead: &[Dead]) {
    dead.iter().for_each(|dead| eprintln!("minimal: {dead}"));
}

/// A VM, and its guest.
struct Vm {
    devices: Devices,
    vcpu: Vcpu,
    machine: Machine,
    driver: Driver,
}

impl Vm {
    fn new(bar: u64) -> Result<Self> {
        let (machine, mut vcpus) = Machine::builder().vcpus(1).build()?;
        Ok(Self {
            devices: Devices::new(&machine, bar)?,
            vcpu: vcpus.pop().ok_or("no vCPU")?,
            driver: Driver::new(&machine)?,
            machine,
        })
    }

    /// Runs the event loop, and the vCPU until it has moved the BAR `moves` times.
    fn run(&mut self, moves: u32) -> Result<()> {
        let (stop, devices) = (EventNotifier::new()?, &self.devices);
        std::thread::scope(|scope| {
            let event_loop = scope.spawn(|| devices.serve(&stop));
            let ran = devices.run_vcpu(&mut self.vcpu, moves);
            stop.notify()?;
            event_loop.join().map_err(|_| "the event loop panicked")??;
            ran
        })
    }

    /// Saves the VM, whose vCPU and event loop have stopped, and restores it in another one.
    fn migrate(&mut self) -> Result<Self> {
        // After the pauses, everything that KVM was about to inject is in its interrupt
        // controllers.
        let old = &self.devices;
        old.msix.pause();
        old.disk_irq.line().pause()?;
        let vcpu = self.vcpu.save()?;
        let (line, msix) = (old.disk_irq.line().snapshot()?, old.msix.snapshot()?);
        let kicks = old.kicks.each_ref().map(|kick| kick.consume());

        // Create new devices, paused; restore RAM, interrupt controllers and vCPU; then the
        // devices.
        let mut vm = Self::new(old.bar.load(Relaxed))?;
        let new = &vm.devices;
        new.msix.pause();
        new.disk_irq.line().pause()?;
        vm.machine.copy_ram(&self.machine)?;
        vm.machine.copy_irqchips(&self.machine)?;
        vm.vcpu.restore(&vcpu)?;
        new.disk_irq.line().restore(&line)?;
        report(&new.msix.restore(&msix)?);
        for (kick, unserved) in new.kicks.iter().zip(kicks) {
            unserved?.map(|kicks| kick.add(kicks)).transpose()?;
        }
        new.disk_irq.line().resume()?;
        report(&new.msix.resume());
        Ok(vm)
    }
}

pub(crate) fn main() -> Result<()> {
    let mut first = Vm::new(BARS[0].into())?;
    first.vcpu.load(first.driver.program()?)?;
    first.run(ROUNDS | 1)?; // an odd number: in the middle of a round
    let mut second = first.migrate()?;
    second.run(u32::MAX)?;
    second.driver.report()?;
    println!("the VM was saved in round {}, and restored", ROUNDS / 2 + 1);
    Ok(())
}

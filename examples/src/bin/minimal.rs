// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A small VMM on `/dev/kvm`, to copy from: what devices need of the crates, and in which order.
//!
//! The disk is a virtio-mmio device with a doorbell and a level-triggered line. The network card is
//! a PCI device with two doorbells in a BAR and two MSI-X vectors: the VMM triggers one, and the
//! eventfd of the other would go to vhost. In each round the guest kicks each queue, moves the BAR
//! meanwhile, and waits for three interrupts. In the middle the VM is saved, and goes on in another
//! one.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_arch = "x86_64")]
    let outcome = vmm::run();
    #[cfg(not(target_arch = "x86_64"))]
    let outcome = Err::<(), _>("the guest is x86-64 code");
    if let Err(error) = outcome {
        eprintln!("minimal: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::indexing_slicing, reason = "three queues, two vectors")]
mod vmm {
    use std::error::Error;
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use ioeventfd::virtio::{
        self, Notification, NotifyCapability, PciModern, PciQueue, QueueDoorbell,
    };
    use ioeventfd::{AfterExit, DoorbellRegistry, DoorbellSet, IoAddress, Window};
    use irq_routing::RoutingTable;
    use irqfd::{ArmQueue, Dead, LevelIrq, LevelLine, msix};
    use nix::errno::Errno;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
    use notify_core::{EventNotifier, KvmVm};
    use tiny_guest::iced_x86::code_asm::{dword_ptr, eax, qword_ptr, rax, rcx};
    use tiny_guest::kvm_bindings::kvm_irqchip;
    use tiny_guest::{Exit, Machine, Program, ROUND, Slot, Vcpu};

    type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

    /// A VM, its vCPU, and the counters of the guest.
    type Vm = (Machine, Vcpu, [Slot; 3]);

    const ROUNDS: u32 = 100;
    /// The registers of the disk: InterruptStatus at 0x60, InterruptACK at 0x64.
    const DISK: u64 = 0xd000_0000;
    const STATUS: u64 = DISK + 0x60;
    const ACK: u64 = DISK + 0x64;
    const PIN: u8 = 5;
    /// Both places of the network card's BAR: the MSI-X table, and at 0x3000 the doorbells.
    const BARS: [u32; 2] = [0xd100_0000, 0xd200_0000];
    const BAR_SIZE: u64 = 0x4000;
    /// Ports that stand for registers in configuration space: the BAR, and Message Control.
    const CONFIG_BAR: u16 = 0x500;
    const CONFIG_MSIX: u16 = 0x504;
    /// What the guest takes interrupts by: of the disk, and of each queue of the network card.
    const VECTORS: [u8; 3] = [0x50, 0x51, 0x52];

    /// The devices of a VM. Kicks and counts are those of the disk's queue and the card's two.
    struct Devices {
        disk_bells: DoorbellSet,
        disk_irq: LevelIrq,
        net_bells: DoorbellSet,
        msix: msix::Table,
        arm_queue: ArmQueue,
        kicks: [Arc<EventNotifier>; 3],
        served: [AtomicU64; 3],
        bar: AtomicU64,
    }

    impl Devices {
        fn new(machine: &Machine, bar: u64) -> Outcome<Self> {
            let vm = Arc::new(KvmVm::try_from(machine.vm())?);
            // One of each for a VM. Other code registers no doorbells, and sets no routes.
            let registry = DoorbellRegistry::new(vm.clone(), Window::of_irqchip(&*vm)?);
            let routing = RoutingTable::new(vm)?;
            let arm_queue = ArmQueue::new(&routing)?;
            let kick = || EventNotifier::new().map(Arc::new);
            let kicks = [kick()?, kick()?, kick()?];

            let disk_bells = DoorbellSet::new(&registry);
            let bells = virtio::mmio(DISK, [0], Notification::Index)?;
            start(&disk_bells, bells, &kicks)?;
            // Other devices that share the pin join the same line.
            let line = LevelLine::builder(routing.line(PIN.into())?).build()?;

            // Removals first: quicker. Kicks that exit meanwhile go to `on_exit_write`.
            let net_bells = DoorbellSet::new(&registry).removals_first();
            #[rustfmt::skip]
            let notify = NotifyCapability { offset: 0x3000, length: 0x1000, multiplier: 4 };
            let layout = PciModern::new(notify, BAR_SIZE, Notification::Index)?;
            let queues = [PciQueue::new(0, 0), PciQueue::new(1, 1)];
            let bells = layout.doorbells(IoAddress::Mmio(bar), queues)?;
            start(&net_bells, bells, &kicks[1..])?;
            let msix = msix::Table::builder(&routing).vectors(2);
            let msix = msix.queue(&arm_queue).build()?;
            msix.vectors()[1].export()?; // this notifier would go to vhost
            let (disk_irq, bar) = (line.join()?, AtomicU64::new(bar));
            let served = Default::default();
            #[rustfmt::skip]
            let new = Self { disk_bells, disk_irq, net_bells, msix, arm_queue, kicks, served, bar };
            Ok(new)
        }

        /// The VMM's event loop, until `stop` is signalled.
        fn serve(&self, stop: &EventNotifier) -> Outcome<()> {
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
                match event[0].data() {
                    // Vectors that the guest has unmasked: all of them with one ioctl.
                    3 => report(&self.arm_queue.run_pending().failed),
                    4 => return Ok(()),
                    queue => {
                        // A device would look at the queue's ring. Then it interrupts the guest.
                        let kicks = self.kicks[queue as usize].consume()?.map_or(0, u64::from);
                        self.served[queue as usize].fetch_add(kicks, Relaxed);
                        match (queue, self.msix.vectors()[1].notifier()) {
                            (0, _) => self.disk_irq.assert()?,
                            (2, Some(vhost)) => vhost.notify()?,
                            _ => drop(self.msix.vectors()[0].trigger()?),
                        }
                    }
                }
            }
        }

        fn mmio_write(&self, address: u64, data: &[u8]) -> Outcome<()> {
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

        /// Runs the guest until it has moved the BAR `moves` times, or to its end.
        fn run(&self, vcpu: &mut Vcpu, moves: u32) -> Outcome<()> {
            let stop = EventNotifier::new()?;
            std::thread::scope(|scope| {
                let event_loop = scope.spawn(|| self.serve(&stop));
                let ran = self.run_vcpu(vcpu, moves);
                stop.notify()?;
                event_loop.join().map_err(|_| "the event loop panicked")??;
                ran
            })
        }

        fn run_vcpu(&self, vcpu: &mut Vcpu, mut moves: u32) -> Outcome<()> {
            while moves > 0 {
                match vcpu.run()? {
                    Exit::MmioWrite { address, data } => self.mmio_write(address, data)?,
                    Exit::MmioRead { address, data } => self.mmio_read(address, data),
                    Exit::PortWrite { port, data } if port == CONFIG_MSIX => {
                        report(&self.msix.config_write(2, data));
                    }
                    Exit::PortWrite { port, data } if port == CONFIG_BAR => {
                        let to = u32::from_le_bytes(data.try_into()?).into();
                        let from = self.bar.swap(to, Relaxed);
                        let (from, to) = (IoAddress::Mmio(from), IoAddress::Mmio(to));
                        let moved = self.net_bells.relocate(from, BAR_SIZE, to)?;
                        // The only vCPU is here, so no kick is on its way to the old place.
                        self.net_bells.vcpus_passed(moved)?;
                        moves -= 1;
                    }
                    Exit::Finished(0) => return Ok(()),
                    other => return Err(format!("the guest ended with {other:?}").into()),
                }
            }
            Ok(())
        }

        /// Saves the VM, whose vCPU and event loop have stopped, and restores it in another one.
        fn migrate(&self, machine: &Machine, vcpu: &mut Vcpu) -> Outcome<(Self, Vm)> {
            // Save. What KVM was about to inject is in its interrupt controllers after the pauses.
            self.msix.pause();
            self.disk_irq.line().pause()?;
            let irqchips = [0, 1, 2].map(|chip_id| {
                #[rustfmt::skip]
                let mut irqchip = kvm_irqchip { chip_id, ..Default::default() };
                machine.vm().get_irqchip(&mut irqchip).map(|()| irqchip)
            });
            let registers = vcpu.save()?;
            let (line, msix) = (self.disk_irq.line().snapshot()?, self.msix.snapshot()?);
            let kicks = self.kicks.each_ref().map(|kick| kick.consume());

            // Restore: new devices, paused; the controllers; then the devices' state.
            let (machine_2, mut vcpu, slots) = new_vm()?;
            let devices = Self::new(&machine_2, self.bar.load(Relaxed))?;
            devices.msix.pause();
            devices.disk_irq.line().pause()?;
            machine_2.copy_ram(machine)?;
            for irqchip in irqchips {
                machine_2.vm().set_irqchip(&irqchip?)?;
            }
            vcpu.restore(&registers)?;
            devices.disk_irq.line().restore(&line)?;
            report(&devices.msix.restore(&msix)?);
            for (kick, unserved) in devices.kicks.iter().zip(kicks) {
                unserved?.map(|kicks| kick.add(kicks)).transpose()?;
            }
            devices.disk_irq.line().resume()?;
            report(&devices.msix.resume());
            Ok((devices, (machine_2, vcpu, slots)))
        }
    }

    type Kicks = [Arc<EventNotifier>];

    fn start(set: &DoorbellSet, bells: Vec<QueueDoorbell>, kicks: &Kicks) -> Outcome<()> {
        let bells = bells.into_iter().zip(kicks);
        let bells = bells.map(|(bell, kick)| bell.signalling(kick.clone()));
        set.apply(set.plan(bells)?)?;
        Ok(())
    }

    /// The guest has given vectors a message that KVM refuses. The VM goes on without them.
    fn report(dead: &[Dead]) {
        dead.iter().for_each(|dead| eprintln!("minimal: {dead}"));
    }

    /// The driver.
    fn guest(taken: &[Slot; 3]) -> Result<Program, tiny_guest::Error> {
        let [old, new] = BARS.map(u64::from);
        let program = Program::new(|asm| {
            asm.enable_lapic()?;
            asm.mask_pics()?; // the pin is one of theirs, too
            asm.redirect_pin(PIN, u64::from(VECTORS[0]) | 1 << 15)?; // level-triggered
            for (entry, vector) in [old, old + 16].into_iter().zip(&VECTORS[1..]) {
                asm.mmio_write64(entry, tiny_guest::layout::msi_address(0))?;
                asm.mmio_write64(entry + 8, u64::from(*vector))?; // and not masked
            }
            asm.port_write16(CONFIG_MSIX, 0x8000)?;
            asm.repeat(ROUNDS, |asm| {
                // The BAR moves, and the VM is saved, while kicks and interrupts are on their way.
                asm.mmio_write32(DISK + 0x50, 0)?;
                asm.mmio_write16(old + 0x3000, 0)?;
                asm.port_write32(CONFIG_BAR, BARS[1])?;
                asm.mmio_write16(new + 0x3004, 1)?;
                taken
                    .iter()
                    .try_for_each(|taken| asm.halt_until(taken, ROUND))?;
                asm.port_write32(CONFIG_BAR, BARS[0])
            })?;
            asm.finish(0)
        })?;
        // A line may interrupt once more before the driver acknowledges: the status counts.
        let program = program.handler(VECTORS[0], |asm| {
            asm.mov(rcx, STATUS)?;
            asm.mov(eax, dword_ptr(rcx))?;
            asm.add(qword_ptr(taken[0].address()), rax)?;
            asm.mmio_write32(ACK, 1)
        })?;
        let program = program.handler(VECTORS[1], |asm| asm.increment(&taken[1]))?;
        program.handler(VECTORS[2], |asm| asm.increment(&taken[2]))
    }

    fn new_vm() -> Outcome<Vm> {
        let (machine, mut vcpus) = Machine::builder().vcpus(1).build()?;
        let slots = [machine.slot()?, machine.slot()?, machine.slot()?];
        Ok((machine, vcpus.pop().ok_or("no vCPU")?, slots))
    }

    pub(crate) fn run() -> Outcome<()> {
        let kvm = tiny_guest::kvm_ioctls::Kvm::new();
        drop(kvm.map_err(|error| format!("cannot open /dev/kvm: {error}"))?);
        let (machine, mut vcpu, taken) = new_vm()?;
        vcpu.load(guest(&taken)?)?;
        let first = Devices::new(&machine, BARS[0].into())?;
        first.run(&mut vcpu, ROUNDS | 1)?; // an odd number: in the middle of a round
        let (second, (_machine, mut vcpu, taken)) = first.migrate(&machine, &mut vcpu)?;
        second.run(&mut vcpu, u32::MAX)?;
        for (index, name) in ["disk", "net queue 0", "net queue 1"].iter().enumerate() {
            let served = [&first, &second].map(|one| one.served[index].load(Relaxed));
            let (kicks, taken) = (served[0] + served[1], taken[index].load()?);
            println!("{name}: {kicks} kicks served, {taken} interrupts taken");
            if (kicks, taken) != (ROUNDS.into(), ROUNDS.into()) {
                return Err(format!("{name}: not {ROUNDS} kicks and interrupts").into());
            }
        }
        println!("the VM was saved in round {}, and restored", ROUNDS / 2 + 1);
        Ok(())
    }
}

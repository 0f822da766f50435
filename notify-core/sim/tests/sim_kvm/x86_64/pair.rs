// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A real VM and a simulated one, and the same requests to both.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use kvm_bindings::{
    KVM_CAP_X2APIC_API, KVM_IRQCHIP_IOAPIC, kvm_enable_cap, kvm_irqchip, kvm_lapic_state,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};
use notify_core::{Bus, EventNotifier};
use notify_sim::raw::{IoEventFd, IrqFd, IrqLevel, Msi, Routing};
use notify_sim::{IoApicState, Profile, SimVm};

use super::barrier::Barrier;
use super::guest::Guest;
use super::ioctl::{self, Outcome};

/// What KVM has not done within this time it does not do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Corresponding files, one for each of the two VMs.
struct Files {
    real: OwnedFd,
    sim: OwnedFd,
}

pub(crate) struct Pair {
    profile: Profile,
    pub(crate) vm: VmFd,
    vcpus: Vec<VcpuFd>,
    pub(crate) sim: SimVm,
    files: Vec<Files>,
    guest: Option<Guest>,
    barrier: Barrier,
    pub(crate) log: Vec<String>,
}

/// The visible state of a VM.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// last_irr, irr, imr, isr, priority_add, irq_base, elcr
    pics: Vec<[u8; 7]>,
    ioapic: Option<(u32, [u64; 24])>,
    vectors: Vec<Vec<u8>>,
}

/// Registers of the local APIC.
pub(crate) const ISR: usize = 0x100;
pub(crate) const IRR: usize = 0x200;
const SVR: usize = 0xf0;

fn outcome(result: std::io::Result<i32>) -> Outcome {
    result.unwrap_or_else(|error| -error.raw_os_error().unwrap())
}

impl Pair {
    pub(crate) fn new(profile: Profile, vcpus: usize, guest: bool) -> Self {
        let vm = Kvm::new().unwrap().create_vm().unwrap();
        match profile {
            Profile::X86 => vm.create_irq_chip().unwrap(),
            Profile::X86Split { pins } => {
                let mut cap = kvm_enable_cap {
                    cap: Cap::SplitIrqchip as u32,
                    ..Default::default()
                };
                cap.args[0] = pins.into();
                vm.enable_cap(&cap).unwrap();
            }
            _ => {}
        }
        let guest = guest.then(|| Guest::new(&vm));
        let vcpus: Vec<_> = (0..vcpus)
            .map(|id| vm.create_vcpu(id as u64).unwrap())
            .collect();
        if let Some(guest) = &guest {
            guest.prepare(&vcpus[0]);
        }
        let sim = SimVm::builder()
            .profile(profile)
            .vcpus(vcpus.len())
            .resample_at_unmask(kvm_test::kernel() >= (6, 3, 0));
        let mut pair = Self {
            profile,
            vm,
            vcpus,
            sim: sim.build(),
            files: Vec::new(),
            guest,
            barrier: Barrier::new(),
            log: Vec::new(),
        };
        pair.add_files();
        pair
    }

    fn add_files(&mut self) {
        let mut add = |make: &dyn Fn() -> OwnedFd| {
            let (real, sim) = (make(), make());
            self.files.push(Files { real, sim });
        };
        for _ in 0..6 {
            add(&|| EventNotifier::new().unwrap().try_into().unwrap());
        }
        let semaphore = || EventNotifier::builder().semaphore(true).build().unwrap();
        add(&|| semaphore().try_into().unwrap());
        for of in [0, 1] {
            let Files { real, sim } = &self.files[of];
            let (real, sim) = (real.try_clone().unwrap(), sim.try_clone().unwrap());
            self.files.push(Files { real, sim });
        }
        let pipe = || OwnedFd::from(std::io::pipe().unwrap().0);
        let (real, sim) = (pipe(), pipe());
        self.files.push(Files { real, sim });
    }

    /// The eventfd that is a semaphore.
    pub(crate) const SEMAPHORE: usize = 6;
    /// The number of eventfds, the number of files, and the number including two invalid ones.
    pub(crate) const EVENTFDS: usize = 9;
    pub(crate) const NUMBERS: usize = 12;

    fn numbers(&self, file: usize) -> (i32, i32) {
        match self.files.get(file) {
            Some(files) => (files.real.as_raw_fd(), files.sim.as_raw_fd()),
            None if file == 10 => (-1, -1),
            None => (9999, 9999),
        }
    }

    #[track_caller]
    fn same<T: std::fmt::Debug + PartialEq>(&self, real: &T, sim: &T) {
        assert!(
            real == sim,
            "KVM says {real:?}, SimVm says {sim:?}, after\n{}",
            self.log.join("\n")
        );
    }

    fn note(&mut self, what: &impl std::fmt::Debug) {
        self.log.push(format!("{what:?}"));
    }

    pub(crate) fn irqfd(&mut self, args: IrqFd) {
        self.note(&args);
        let ((real_fd, sim_fd), (real_resample, sim_resample)) = (
            self.numbers(args.fd as usize),
            self.numbers(args.resamplefd as usize),
        );
        let real = ioctl::irqfd(
            &self.vm,
            &IrqFd {
                fd: real_fd,
                resamplefd: real_resample,
                ..args
            },
        );
        let sim = outcome(self.sim.kvm_irqfd(&IrqFd {
            fd: sim_fd,
            resamplefd: sim_resample,
            ..args
        }));
        self.same(&real, &sim);
        self.barrier.pass();
    }

    pub(crate) fn ioeventfd(&mut self, args: IoEventFd) {
        self.note(&args);
        let (real_fd, sim_fd) = self.numbers(args.fd as usize);
        let real = ioctl::ioeventfd(
            &self.vm,
            &IoEventFd {
                fd: real_fd,
                ..args
            },
        );
        let sim = outcome(self.sim.kvm_ioeventfd(&IoEventFd { fd: sim_fd, ..args }));
        self.same(&real, &sim);
    }

    pub(crate) fn routing(&mut self, args: &Routing<'_>) {
        self.note(args);
        let real = ioctl::set_gsi_routing(&self.vm, args);
        let sim = outcome(self.sim.kvm_set_gsi_routing(args));
        self.same(&real, &sim);
    }

    pub(crate) fn msi(&mut self, args: &Msi) {
        self.note(args);
        let real = ioctl::signal_msi(&self.vm, args);
        let sim = outcome(self.sim.kvm_signal_msi(args));
        self.same(&real, &sim);
    }

    pub(crate) fn line(&mut self, args: &IrqLevel, status: bool) {
        self.note(&(args, status));
        if status {
            let (real, status) = ioctl::irq_line_status(&self.vm, args);
            let sim = self.sim.kvm_irq_line_status(args);
            match sim {
                Ok(sim) => self.same(&(real, status), &(0, sim)),
                Err(error) => self.same(&real, &outcome(Err(error))),
            }
        } else {
            let real = ioctl::irq_line(&self.vm, args);
            let sim = outcome(self.sim.kvm_irq_line(args));
            self.same(&real, &sim);
        }
    }

    pub(crate) fn write(&mut self, file: usize, count: u64) {
        self.note(&("write", file, count));
        let Files { real, sim } = &self.files[file];
        let write = |fd: &OwnedFd| {
            let mut file = std::fs::File::from(fd.try_clone().unwrap());
            file.write(&count.to_ne_bytes())
                .map_err(|error| error.kind())
        };
        let (real, sim) = (write(real), write(sim));
        self.same(&real, &sim);
        self.barrier.pass();
    }

    pub(crate) fn read(&mut self, file: usize) {
        self.note(&("read", file));
        let Files { real, sim } = &self.files[file];
        let read = |fd: &OwnedFd| {
            let mut count = [0; 8];
            let mut file = std::fs::File::from(fd.try_clone().unwrap());
            let result = file.read(&mut count).map_err(|error| error.kind());
            (result, u64::from_ne_bytes(count))
        };
        let (real, sim) = (read(real), read(sim));
        self.same(&real, &sim);
    }

    /// A zone whose writes KVM keeps for later. Its ring holds 169; nothing reads it here.
    pub(crate) fn coalesced(&mut self, pio: bool, address: u64, len: u32) {
        self.note(&("coalesced", pio, format!("{address:#x}"), len));
        let (real, bus) = if pio {
            (IoEventAddress::Pio(address), Bus::Pio)
        } else {
            (IoEventAddress::Mmio(address), Bus::Mmio)
        };
        self.vm.register_coalesced_mmio(real, len).unwrap();
        self.sim.add_coalesced(bus, address, len).unwrap();
    }

    /// The first vCPU writes; returns the exits and how many doorbells rang.
    pub(crate) fn guest_write(&mut self, pio: bool, address: u64, bytes: &[u8]) {
        self.note(&("guest", pio, format!("{address:#x}"), bytes));
        let guest = self.guest.as_ref().unwrap();
        let exits = guest.write(&mut self.vcpus[0], pio, address, bytes);
        let bus = if pio { Bus::Pio } else { Bus::Mmio };
        let written = self.sim.guest_write(bus, address, bytes);
        let sim = written.exits.iter();
        let sim: Vec<_> = sim
            .map(|exit| (exit.address, exit.bytes().to_vec()))
            .collect();
        self.same(&exits, &sim);
        self.barrier.pass();
    }

    /// Compares everything visible.
    ///
    /// The barrier is not enough on a slow machine: since Linux 6.5, work that has run for 10 ms
    /// can be overtaken. So what differs is looked at again for a while.
    #[track_caller]
    pub(crate) fn compare(&self) {
        let (sim, end) = (self.seen_in_sim(), Instant::now() + PATIENCE);
        while self.seen_in_kvm() != sim && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        self.same(&self.seen_in_kvm(), &sim);
    }

    fn seen_in_sim(&self) -> Seen {
        let pics = self.sim.pic().into_iter().flatten();
        Seen {
            pics: pics
                .map(|pic| {
                    [
                        pic.last_irr,
                        pic.irr,
                        pic.imr,
                        pic.isr,
                        pic.priority_add,
                        pic.irq_base,
                        pic.elcr,
                    ]
                })
                .collect(),
            ioapic: self.sim.ioapic().map(|chip| (chip.irr, chip.redirections)),
            vectors: (0..self.vcpus.len())
                .map(|vcpu| self.sim.pending_vectors(vcpu))
                .collect(),
        }
    }

    #[allow(unsafe_code, reason = "the chip names the field of the union")]
    fn seen_in_kvm(&self) -> Seen {
        let mut seen = Seen::default();
        if self.sim.pic().is_some() {
            for chip_id in 0..2 {
                let chip = self.chip(chip_id);
                // SAFETY: the chip is a PIC, whose state is made of bytes.
                let pic = unsafe { chip.chip.pic };
                seen.pics.push([
                    pic.last_irr,
                    pic.irr,
                    pic.imr,
                    pic.isr,
                    pic.priority_add,
                    pic.irq_base,
                    pic.elcr,
                ]);
            }
            let chip = self.chip(KVM_IRQCHIP_IOAPIC);
            // SAFETY: the chip is an IOAPIC, whose state is made of integers.
            let ioapic = unsafe { chip.chip.ioapic };
            // SAFETY: the union is one 64-bit integer and its pieces.
            let entries = ioapic.redirtbl.map(|entry| unsafe { entry.bits });
            seen.ioapic = Some((ioapic.irr, entries));
        }
        let waiting = |vcpu: &VcpuFd| match self.profile {
            Profile::None => Vec::new(),
            _ => vectors(&vcpu.get_lapic().unwrap(), IRR),
        };
        seen.vectors = self.vcpus.iter().map(waiting).collect();
        seen
    }

    fn chip(&self, chip_id: u32) -> kvm_irqchip {
        let mut chip = kvm_irqchip {
            chip_id,
            ..Default::default()
        };
        self.vm.get_irqchip(&mut chip).unwrap();
        chip
    }

    pub(crate) fn enable_lapic(&mut self, vcpu: usize, enabled: bool) {
        self.note(&("lapic", vcpu, enabled));
        self.edit_lapic(vcpu, |lapic| {
            let svr = register(lapic, SVR);
            let bit = 0x100;
            set_register(lapic, SVR, if enabled { svr | bit } else { svr & !bit });
        });
        if enabled {
            self.sim.enable_lapic(vcpu);
        } else {
            self.sim.disable_lapic(vcpu);
        }
    }

    pub(crate) fn clear_vectors(&mut self, vcpu: usize) {
        self.note(&("clear", vcpu));
        self.edit_lapic(vcpu, |lapic| {
            (0..8).for_each(|n| set_register(lapic, IRR + n * 16, 0));
        });
        self.sim.clear_vectors(vcpu);
    }

    /// The vCPU takes its highest vector; in the real VM by setting the APIC's state, which KVM
    /// treats as a restored APIC.
    pub(crate) fn take_vector(&mut self, vcpu: usize) {
        let taken = self.sim.take_vector(vcpu);
        self.note(&("take", vcpu, taken));
        let Some(vector) = taken else {
            return;
        };
        self.edit_lapic(vcpu, |lapic| {
            assert_eq!(vectors(lapic, IRR).last(), Some(&vector));
            let (register_at, bit) = (usize::from(vector / 32) * 16, 1 << (vector % 32));
            let irr = register(lapic, IRR + register_at);
            set_register(lapic, IRR + register_at, irr & !bit);
            let isr = register(lapic, ISR + register_at);
            set_register(lapic, ISR + register_at, isr | bit);
        });
        self.sim.enable_lapic(vcpu);
    }

    fn edit_lapic(&mut self, vcpu: usize, edit: impl FnOnce(&mut kvm_lapic_state)) {
        let mut lapic = self.vcpus[vcpu].get_lapic().unwrap();
        edit(&mut lapic);
        self.vcpus[vcpu].set_lapic(&lapic).unwrap();
    }

    #[allow(unsafe_code, reason = "the chip names the field of the union")]
    pub(crate) fn redirect(&mut self, pin: usize, entry: u64) {
        self.note(&("redirect", pin, format!("{entry:#x}")));
        let mut chip = self.chip(KVM_IRQCHIP_IOAPIC);
        // SAFETY: the chip is an IOAPIC, whose state is made of integers.
        unsafe { chip.chip.ioapic.redirtbl[pin].bits = entry };
        self.vm.set_irqchip(&chip).unwrap();
        let mut state: IoApicState = self.sim.ioapic().unwrap();
        state.redirections[pin] = entry;
        self.sim.set_ioapic(state);
    }

    pub(crate) fn elcr(&mut self, masks: [u8; 2], imrs: [u8; 2]) {
        self.note(&("elcr, imr", masks, imrs));
        let mut pics = self.sim.pic().unwrap();
        for (chip_id, pic) in (0..2).zip(&mut pics) {
            let mut chip = self.chip(chip_id);
            let index = chip_id as usize;
            // Writing a field of a union is safe, and the request was for this chip.
            chip.chip.pic.elcr = masks[index];
            chip.chip.pic.imr = imrs[index];
            self.vm.set_irqchip(&chip).unwrap();
            pic.elcr = masks[index];
            pic.imr = imrs[index];
        }
        self.sim.set_pic(pics);
    }

    pub(crate) fn x2apic_ids(&mut self) {
        self.note(&"x2apic ids");
        let mut cap = kvm_enable_cap {
            cap: KVM_CAP_X2APIC_API,
            ..Default::default()
        };
        cap.args[0] = 1;
        self.vm.enable_cap(&cap).unwrap();
        self.sim.enable_x2apic_ids();
    }
}

fn register(lapic: &kvm_lapic_state, at: usize) -> u32 {
    let bytes = [0, 1, 2, 3].map(|n| lapic.regs[at + n].cast_unsigned());
    u32::from_le_bytes(bytes)
}

fn set_register(lapic: &mut kvm_lapic_state, at: usize, value: u32) {
    for (n, byte) in value.to_le_bytes().into_iter().enumerate() {
        lapic.regs[at + n] = byte.cast_signed();
    }
}

fn vectors(lapic: &kvm_lapic_state, at: usize) -> Vec<u8> {
    let has = |vector: &u8| {
        let bits = register(lapic, at + usize::from(vector / 32) * 16);
        bits & 1 << (vector % 32) != 0
    };
    (0..=u8::MAX).filter(has).collect()
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that writes once and stops: 32-bit code, flat segments, interrupts off.
#![allow(unsafe_code, reason = "a guest needs memory")]

use kvm_bindings::{kvm_regs, kvm_userspace_memory_region};
use kvm_ioctls::{VcpuExit, VcpuFd, VmFd};

/// The address of the code. A page for each kind of write is enough.
const CODE: u64 = 0x1000;
/// The port that ends a program.
const STOP: u16 = 0xf4;
const PROGRAM: usize = 16;
/// The offset in the page of the value of a wide store.
const DATA: usize = 0x800;

/// `mov [ebx], al`, `ax`, `eax`; `movq mm0, [esi]`, `movq [ebx], mm0`; the same with `movdqu` and
/// `xmm0`; `out dx, al`, `ax`, `eax`.
const WRITES: [&[u8]; 8] = [
    &[0x88, 0x03],
    &[0x66, 0x89, 0x03],
    &[0x89, 0x03],
    &[0x0f, 0x6f, 0x06, 0x0f, 0x7f, 0x03],
    &[0xf3, 0x0f, 0x6f, 0x06, 0xf3, 0x0f, 0x7f, 0x03],
    &[0xee],
    &[0x66, 0xef],
    &[0xef],
];

pub(crate) struct Guest(*mut libc::c_void);

// SAFETY: the pointer is to memory that only the guest uses, and is unmapped once.
unsafe impl Send for Guest {}

impl Guest {
    pub(crate) fn new(vm: &VmFd) -> Self {
        // SAFETY: a new private anonymous mapping overlays nothing.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                0x1000,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(memory, libc::MAP_FAILED);
        for (index, write) in WRITES.iter().enumerate() {
            let code: Vec<u8> = write.iter().chain(&[0xe6, 0xf4]).copied().collect();
            // SAFETY: the page holds all eight programs of 16 bytes.
            unsafe {
                memory
                    .cast::<u8>()
                    .add(index * PROGRAM)
                    .copy_from(code.as_ptr(), code.len());
            }
        }
        let region = kvm_userspace_memory_region {
            slot: 0,
            flags: 0,
            guest_phys_addr: CODE,
            memory_size: 0x1000,
            userspace_addr: memory as u64,
        };
        // SAFETY: the page stays mapped until the guest is dropped, after which it never runs.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        Self(memory)
    }

    pub(crate) fn prepare(&self, vcpu: &VcpuFd) {
        let mut sregs = vcpu.get_sregs().unwrap();
        for (segment, type_) in [
            (&mut sregs.cs, 0xb),
            (&mut sregs.ds, 3),
            (&mut sregs.es, 3),
            (&mut sregs.ss, 3),
        ] {
            segment.base = 0;
            segment.limit = u32::MAX;
            segment.selector = 8;
            (segment.type_, segment.s, segment.db, segment.g) = (type_, 1, 1, 1);
            (segment.present, segment.dpl, segment.unusable) = (1, 0, 0);
        }
        sregs.cr0 = 0x11 | 2; // PE, ET, MP
        sregs.cr4 = 0x600; // OSFXSR, OSXMMEXCPT
        vcpu.set_sregs(&sregs).unwrap();
    }

    /// Writes once, and returns what exited to user space.
    pub(crate) fn write(
        &self,
        vcpu: &mut VcpuFd,
        pio: bool,
        address: u64,
        bytes: &[u8],
    ) -> Vec<(u64, Vec<u8>)> {
        let program = bytes.len().trailing_zeros() as usize + if pio { 5 } else { 0 };
        let mut wide = [0; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        // SAFETY: the page has room for 16 bytes there, and the guest does not run.
        unsafe {
            self.0
                .cast::<u8>()
                .add(DATA)
                .copy_from(wide.as_ptr(), wide.len())
        };
        let [a, b, c, d, ..] = wide;
        let regs = kvm_regs {
            rip: CODE + (program * PROGRAM) as u64,
            rax: u32::from_le_bytes([a, b, c, d]).into(),
            rbx: address,
            rdx: address,
            rsi: CODE + DATA as u64,
            rflags: 2,
            ..Default::default()
        };
        vcpu.set_regs(&regs).unwrap();
        let mut exits = Vec::new();
        loop {
            match vcpu.run().unwrap() {
                VcpuExit::IoOut(STOP, _) => return exits,
                VcpuExit::IoOut(port, data) => exits.push((port.into(), data.to_vec())),
                VcpuExit::MmioWrite(address, data) => exits.push((address, data.to_vec())),
                other => panic!("the guest does something else: {other:?}"),
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new`, and the VM that uses it never runs again.
        unsafe { libc::munmap(self.0, 0x1000) };
    }
}

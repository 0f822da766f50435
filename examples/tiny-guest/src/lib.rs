// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest of a few hundred bytes that kicks, takes interrupts and counts them.
//!
//! An ordinary guest hides what a test of interrupts and doorbells wants to see. The guests here
//! are written instruction by instruction in the test itself. They start in 64-bit mode with paging
//! on, run one [`Program`] per vCPU, share [`Slot`]s and [`Array`]s with the host, and finish by
//! writing a code to a port.
//!
//! ```no_run
//! use tiny_guest::{Error, Exit, Machine, Program, ROUND};
//!
//! // A guest that rings a doorbell, and sleeps until its interrupt comes, 1000 times.
//! let (machine, mut vcpus) = Machine::builder().vcpus(1).build()?;
//! let ticks = machine.slot()?;
//! let program = Program::new(|asm| {
//!     asm.enable_lapic()?;
//!     asm.repeat(1000, |asm| {
//!         asm.mmio_write32(tiny_guest::layout::DOORBELL, 1)?;
//!         asm.halt_until(&ticks, ROUND)
//!     })?;
//!     asm.finish(0)
//! })?
//! .handler(0x40, |asm| asm.increment(&ticks))?;
//!
//! let vcpu = &mut vcpus[0];
//! vcpu.load(program)?;
//! loop {
//!     match vcpu.run()? {
//!         // Here a real device would raise vector 0x40.
//!         Exit::MmioWrite { address, data } => println!("{address:#x} <- {data:?}"),
//!         Exit::Finished(code) => break println!("{code}, after {} ticks", ticks.load()?),
//!         other => break println!("unexpected: {other:?}"),
//!     }
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! # Memory map
//!
//! The first 4 GiB are mapped one to one, by 2 MiB pages, for all vCPUs.
//!
//! ```text
//! 0x0000_1000  page tables, GDT, TSS                    shared by all vCPUs
//! 0x0001_0000  IDT | stack | code                       64 KiB for vCPU 0
//! 0x0002_0000  IDT | stack | code                       64 KiB for vCPU 1, and so on
//! 0x0010_0000  slots and arrays                         up to the end of the RAM
//! 0x8000_0000  no RAM from here on                      every access is MMIO
//! 0xd000_0000  doorbells                                4 MiB set aside for devices
//! 0xfec0_0000  I/O APIC
//! 0xfee0_0000  local APIC
//! ```
//!
//! The constants are in [`layout`].
#![cfg(target_arch = "x86_64")]

mod asm;
mod cpuid;
mod error;
mod exit;
mod lapic;
pub mod layout;
mod long_mode;
mod machine;
mod program;
mod ram;
mod requests;
mod shared;
mod state;
mod stop;
mod tsc;
mod vcpu;

pub use asm::{Asm, Emitted, ROUND, Value};
pub use error::Error;
pub use exit::Exit;
pub use iced_x86;
pub use kvm_bindings;
pub use kvm_ioctls;
pub use machine::{Irqchip, Machine, MachineBuilder};
pub use program::{Eoi, Program};
pub use shared::{Array, Slot};
pub use state::VcpuState;
pub use stop::VcpuStopper;
pub use tsc::host_tsc;
pub use vcpu::Vcpu;

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One table for each VM: what it starts with on each platform, and other owners of the table.
//!
//! KVM has one routing table for each VM. KVM_SET_GSI_ROUTING replaces it as a whole, and no ioctl
//! reads it. So exactly one object may own it: a [`RoutingTable`](crate::RoutingTable), of which
//! each device gets a clone.
//!
//! ```text
//!          ┌── net0    clone
//!  table ──┼── blk0    clone       at most one KVM_SET_GSI_ROUTING for a commit:
//!          └── vfio0   clone       wiring + routes of all devices
//! ```
//!
//! # x86: the default wiring
//!
//! When KVM creates an irqchip, it installs routes for the pins of the PICs and of the IOAPIC. The
//! table starts with the same routes, so the serial port, the PIT and the RTC keep working after
//! the first commit:
//!
//! ```text
//!  GSI 0-7    ──▶  PIC master pin 0-7, IOAPIC pin 0-7
//!  GSI 8-15   ──▶  PIC slave pin 0-7,  IOAPIC pin 8-15
//!  GSI 16-23  ──▶                      IOAPIC pin 16-23
//!  GSI 24...       leased by devices, each routed to a message
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::SimVm;
//!
//! let vm = Arc::new(SimVm::builder().build()); // KvmVm::try_from(&vm_fd)? in a VMM
//! let table = RoutingTable::new(vm)?;
//! let lease = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?;
//! assert_eq!(lease.gsi().number(), 24, "the first 24 are those of the pins");
//!
//! let serial = table.route(table.gsi(4)?).map(|route| route.to_string());
//! assert_eq!(serial.as_deref(), Some("PIC master pin 4, IOAPIC pin 4"));
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! The irqchip may be created after the table, but before the first commit. Without one a commit
//! fails with [`Error::NoIrqChip`](crate::Error::NoIrqChip).
//!
//! If the VMM's ACPI tables are modelled on QEMU's, the guest expects the timer at pin 2 of the
//! IOAPIC. Then build the table with [`Wiring::pc`](crate::Wiring::pc):
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{RoutingTable, Wiring};
//! # use notify_sim::SimVm;
//! # let vm = Arc::new(SimVm::builder().build());
//! let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
//! let timer = table.route(table.gsi(0)?).map(|route| route.to_string());
//! assert_eq!(timer.as_deref(), Some("PIC master pin 0, IOAPIC pin 2"));
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! # arm64 and riscv64
//!
//! KVM does not report how many pins a GIC or an AIA has, so the VMM gives the number, which it has
//! itself chosen. Without a wiring each commit fails with
//! [`Error::UnknownWiring`](crate::Error::UnknownWiring).
//!
//! | platform | wiring | GSI n is routed to |
//! |---|---|---|
//! | arm64 | [`Wiring::gic(spis)`](crate::Wiring::gic) | SPI n, INTID n + 32 |
//! | riscv64 | [`Wiring::aia(sources)`](crate::Wiring::aia) | source n; source 0 does not exist |
//! | any, no pins | [`Wiring::none(platform)`](crate::Wiring::none) | nothing |
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{RoutingTable, Wiring};
//! # use notify_sim::{Profile, SimVm};
//! let vm = Arc::new(SimVm::builder().profile(Profile::Arm64Gic { spis: 64 }).build());
//! let table = RoutingTable::builder(vm.clone()).wiring(Wiring::gic(64)?).build()?;
//! let uart = table.line(33)?; // SPI 33, INTID 65; commits the wiring
//! # assert_eq!(uart.gsi().number(), 33);
//!
//! vm.init_gic(); // KVM_DEV_ARM_VGIC_CTRL_INIT: KVM installs its own table again
//! table.recommit()?; // ... so the whole table is committed once more
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! The initialisation of the GIC or AIA overwrites what was committed before it. So initialise
//! first, or call [`recommit`](crate::RoutingTable::recommit) after it.
//!
//! # Which GSIs a lease gets
//!
//! [`lease`](crate::RoutingTable::lease) takes the lowest free GSI that is not reserved. Reserved
//! are the numbers that belong to pins on the platform: 24 on x86, 988 on arm64, 1024 on riscv64.
//! [`reserved_gsis`](crate::RoutingTableBuilder::reserved_gsis) sets another number, for example
//! for a split irqchip that was created with 48 pins.
//! [`lease_exact`](crate::RoutingTable::lease_exact) takes any number, reserved or not, unless it
//! is wired.
//!
//! # Other owners of the table
//!
//! - **Code that calls KVM_SET_GSI_ROUTING itself.** Each side deletes the routes of the other.
//!   Replace its calls by leases of this table. Routes that were set before are removed by the
//!   first commit; wire them, or lease and route them again.
//! - **A second `RoutingTable`** of the same VM is refused with
//!   [`Error::SecondTable`](crate::Error::SecondTable). Two `KvmVm`s over duplicates of one
//!   descriptor are not recognised: keep one `KvmVm` for each VM.
//! - **A VM on another hypervisor, or behind a layer of the VMM's own**: implement
//!   [`Vm`](crate::Vm), as [`notify_core::ports`] shows. With [`Vm::platform`] and
//!   [`Vm::routing_claim`] it gets the same checks as KVM's.
//! - **The creation of the interrupt controllers** replaces the table too, see above.
//!
//! [`Vm::platform`]: crate::Vm::platform
//! [`Vm::routing_claim`]: crate::Vm::routing_claim

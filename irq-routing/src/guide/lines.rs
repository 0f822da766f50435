// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Split irqchips and lines: routes under armed irqfds, shared wiring, exclusive lines, EOIs.
//!
//! # Why a `Line`?
//!
//! KVM accepts an irqfd on a GSI without a route, and loses every signal. So whatever arms a GSI
//! holds its [`Line`](crate::Line), and as long as that lives a commit cannot remove the route:
//!
//! | order | with a `Line` |
//! |---|---|
//! | route, arm, signal | works |
//! | arm without a route | [`into_line`](crate::GsiLease::into_line) fails with [`Error::NoRoute`](crate::Error::NoRoute) |
//! | remove the route of an armed GSI | the commit fails with [`Error::RouteHeld`](crate::Error::RouteHeld) |
//! | change the route of an armed GSI | works: signals follow the new route when the commit returns |
//!
//! The objects of `irqfd` hold lines by themselves. A VMM that calls KVM_IRQFD by its own code
//! takes a line before it does so, and drops it after KVM_IRQFD_FLAG_DEASSIGN. If that ioctl fails,
//! it calls [`Line::quarantine`](crate::Line::quarantine): then no other device gets that GSI.
//!
//! # Two kinds of line
//!
//! ```
//! use std::sync::Arc;
//! use irq_routing::{MsiMessage, RoutingTable};
//! use notify_sim::SimVm;
//!
//! let table = RoutingTable::new(Arc::new(SimVm::builder().build()))?;
//!
//! // A GSI of one device: the line owns the lease.
//! let line = table.lease_msi(MsiMessage::new(0xfee0_0000, 0x40))?.into_line()?;
//! assert!(line.lease().is_some());
//!
//! // A pin of the VM's wiring, here the serial port: devices share it.
//! let serial = table.line(4)?;
//! let another = table.line(4)?;
//! assert!(serial.lease().is_none());
//! # drop(another);
//! # Ok::<(), irq_routing::Error>(())
//! ```
//!
//! # Level and EOI: a driven line
//!
//! ```text
//!            level                     GSI        pin
//!  device ───────────▶ DrivenLine ───▶ 10 ──────▶ IOAPIC 10 ──▶ guest
//!         ◀───────────             ◀───────────────────────────
//!             EOI                  KVM reports the EOI of a pin only to
//!                                  the GSI that is last in its table
//! ```
//!
//! If two GSIs are routed to one pin, KVM reports the pin's EOIs to only one of them, and a device
//! that waits at the other hangs. [`Line::drive`](crate::Line::drive) gives exclusive control: from
//! then on a commit that would share a pin fails with
//! [`Error::PinShared`](crate::Error::PinShared). `irqfd::LevelLine` is built on it. It adds the
//! shared level of several devices, resample notifiers and the unmasking of VFIO interrupts.
//!
//! # A split irqchip
//!
//! With KVM_CAP_SPLIT_IRQCHIP the kernel has only the local APICs. The IOAPIC, and the PICs if
//! there are any, are in the VMM:
//!
//! ```text
//!  full irqchip    GSI 10 ──▶ pin 10 of KVM's IOAPIC ──▶ local APIC
//!
//!  split irqchip   GSI 10 ──▶ message ──────────────────▶ local APIC
//!                             ▲ the redirection entry of pin 10, which the guest
//!                               writes to the VMM's IOAPIC
//! ```
//!
//! - The table starts empty. A route to a pin fails with
//!   [`Error::NoSuchChip`](crate::Error::NoSuchChip).
//! - Pin n is GSI n, and its route is the message of the redirection entry. KVM makes EOI exits
//!   (KVM_EXIT_IOAPIC_EOI) only for GSIs below the number of pins with which the irqchip was
//!   created. So lease pins by [`lease_exact`](crate::RoutingTable::lease_exact), and reserve them
//!   with [`reserved_gsis`](crate::RoutingTableBuilder::reserved_gsis) if there are not 24.
//! - When the guest writes an entry, commit the new message. `irqfd::LevelLine::redirect` does it,
//!   and `irqfd::EoiExits` takes the exits.
//!
//! ```
//! # use std::sync::Arc;
//! # use irq_routing::{Error, IrqChip, MsiMessage, Pin, RoutingTable};
//! # use notify_sim::{Profile, SimVm};
//! let vm = SimVm::builder().profile(Profile::X86Split { pins: 48 }).build();
//! let table = RoutingTable::builder(Arc::new(vm)).reserved_gsis(48).build()?;
//! assert!(table.routes().is_empty());
//!
//! let pin_10 = table.lease_exact(10)?;
//! // The guest writes the redirection entry: vector 0x51, level-triggered, to APIC 0.
//! pin_10.set_route(MsiMessage::new(0xfee0_0000, 0x8051))?;
//!
//! // MSI vectors of devices get GSIs above the pins.
//! assert_eq!(table.lease()?.gsi().number(), 48);
//!
//! let refused = pin_10.set_route(Pin::new(IrqChip::IoApic, 10)?).unwrap_err();
//! assert!(matches!(refused, Error::NoSuchChip { .. }));
//! # Ok::<(), irq_routing::Error>(())
//! ```

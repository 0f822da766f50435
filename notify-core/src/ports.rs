// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Guide: how to implement the port ([`Vm`](crate::Vm)) over a hypervisor layer.
//!
//! [`KvmVm`](crate::KvmVm) makes ioctls on the descriptor of a KVM VM. A VMM with a hypervisor
//! layer of its own implements [`Vm`](crate::Vm) over that layer. This page shows what such a port
//! must be able to do, what still works if it can do no more, and a complete example. The example
//! is over a trait shaped like `hypervisor::Vm` of Cloud Hypervisor.
//!
//! # What is needed, and what is not
//!
//! Interrupts need three things of the layer:
//!
//! - bind an eventfd to a GSI;
//! - replace the whole routing table;
//! - know the number of GSIs ([`Extension::IrqRouting`](crate::Extension::IrqRouting)).
//!
//! Doorbells need a fourth: bind an eventfd to a guest address. A method that the layer does not
//! have returns [`io::ErrorKind::Unsupported`](std::io::ErrorKind::Unsupported). Then:
//!
//! | `Unsupported` from | what still works | what fails |
//! |---|---|---|
//! | `signal_msi`, with [`Extension::SignalMsi`](crate::Extension::SignalMsi) 0 | vectors: each has an irqfd, as if it was built *private* | `inject::message`: `InjectError::MessageRefused` |
//! | `irq_line_status`, `irq_line` | a `LevelLine` whose GSI has a message: it sends by an irqfd of its own | `LevelIrq::assert` and `inject::line` on a pin in the kernel: `NoIrqLine`; `inject::line` of a message: `InjectError::LevelRefused` |
//! | `irqfd` with a resample eventfd | a `LevelLine` whose GSI has a message: the VMM reports EOIs (`EoiExits`), or builds it `without_eois` | a device that waits for EOIs, on a pin in the kernel: `LevelError::NoResample` |
//! | `ioeventfd`, for all or for some doorbells | nothing of `ioeventfd` for them: the VMM handles the guest's write as an exit, and signals the notifier (`ioeventfd::guide::without_ioeventfds` shows how) | `IoEventFd`, and `DoorbellSet::apply` if one of its doorbells is refused: `ioeventfd::Error::Refused` |
//! | `platform` | everything, if the builder of the table is given a `Wiring`, and the registry of doorbells a list of `Window`s | without a `Wiring` each commit: `Error::UnknownWiring`; `Window::of_irqchip` |
//! | `check_extension` of `IrqRouting`, `set_gsi_routing` | doorbells | building the table: `Error::Limit`; each commit: `Error::Refused` |
//! | `irqfd` | doorbells, and interrupts by `signal_msi` and `irq_line_status` | `IrqFd`, private and exported vectors, exported devices of a line: `IrqFdError::Refused` |
//!
//! For a capability that the layer does not know, return 0 and no error.
//!
//! Refuse also a request that the layer cannot undo. In the example that is a doorbell for one
//! value: `unregister_ioevent` has no value, so KVM would not find the doorbell and would keep it.
//! For the same reason the example refuses a doorbell of one width. A virtio-pci layout then needs
//! `ioeventfd::virtio::PciModern::any_width`, which reads two capabilities: `IoEventFdAnyLength`
//! and `IoEventFdNoLength`.
//!
//! Create one port for each VM, and share it in an `Arc`. Its [`RoutingClaim`](crate::RoutingClaim)
//! makes a second routing table fail.
//!
//! # Errors
//!
//! The upper crates decide by the errno, so do not lose the errno of an error of the layer. The
//! table at [`Vm`](crate::Vm#errors) states what each errno means. An error without an errno is
//! final: nothing is retried.
//!
//! Cloud Hypervisor wraps `kvm_ioctls::Error` in an `anyhow::Error`, and that in its own error
//! type. Search the errno along the chain of [`source`](std::error::Error::source), by
//! `downcast_ref` to the type of the bindings: `kvm_ioctls::Error` has `errno()`. (Some MSHV errors
//! have a code of the hypervisor and no errno. Such a port maps temporary errors to EAGAIN, and the
//! rest to EINVAL.)
//!
//! # The example
//!
//! The used part of the hypervisor layer, and a port over it. The port is complete: all other
//! methods of [`Vm`](crate::Vm) have a default. `BorrowedEventFd` needs the feature `vmm-sys-util`
//! (on by default).
//!
//! ```
//! # mod hypervisor {
//! #     use notify_core::EventFd;
//! #     #[derive(Debug, thiserror::Error)]
//! #     #[error("the hypervisor refuses")]
//! #     pub struct Error(#[source] pub Box<dyn std::error::Error + Send + Sync>);
//! #     pub type Result<T> = std::result::Result<T, Error>;
//! #     #[derive(Debug, Clone, Copy)]
//! #     pub enum IoEventAddress { Pio(u64), Mmio(u64) }
//! #     #[derive(Debug)]
//! #     pub enum DataMatch { DataMatch32(u32), DataMatch64(u64) }
//! #     #[derive(Debug, Clone, Copy)]
//! #     pub struct LegacyIrqSourceConfig { pub irqchip: u32, pub pin: u32 }
//! #     #[derive(Debug, Clone, Copy)]
//! #     pub struct MsiIrqSourceConfig {
//! #         pub high_addr: u32,
//! #         pub low_addr: u32,
//! #         pub data: u32,
//! #         pub devid: u32,
//! #     }
//! #     #[derive(Debug, Clone, Copy)]
//! #     pub enum InterruptSourceConfig {
//! #         LegacyIrq(LegacyIrqSourceConfig),
//! #         MsiIrq(MsiIrqSourceConfig),
//! #     }
//! #     #[derive(Debug, Clone, Copy)]
//! #     pub struct IrqRoutingEntry(pub u32, pub InterruptSourceConfig);
//! pub trait Vm: Send + Sync {
//!     fn register_irqfd(&self, fd: &EventFd, gsi: u32) -> Result<()>;
//!     fn unregister_irqfd(&self, fd: &EventFd, gsi: u32) -> Result<()>;
//!     fn register_ioevent(
//!         &self,
//!         fd: &EventFd,
//!         addr: &IoEventAddress,
//!         datamatch: Option<DataMatch>,
//!     ) -> Result<()>;
//!     fn unregister_ioevent(&self, fd: &EventFd, addr: &IoEventAddress) -> Result<()>;
//!     fn make_routing_entry(&self, gsi: u32, config: &InterruptSourceConfig) -> IrqRoutingEntry;
//!     fn set_gsi_routing(&self, entries: &[IrqRoutingEntry]) -> Result<()>;
//! }
//! # }
//! use std::error::Error as _;
//! use std::sync::Arc;
//! use std::{fmt, io};
//!
//! use hypervisor::{
//!     DataMatch, InterruptSourceConfig, IoEventAddress, IrqRoutingEntry, LegacyIrqSourceConfig,
//!     MsiIrqSourceConfig,
//! };
//! use notify_core::{
//!     BorrowedEventFd, Bus, Extension, IoEventFdAction, IoEventFdRequest, IrqFdAction,
//!     IrqFdRequest, LineStatus, MsiOutcome, MsiMessage, Platform, RouteBuffer, RouteEntry,
//!     RouteTarget, RoutingClaim, Vm,
//! };
//!
//! struct Port {
//!     layer: Arc<dyn hypervisor::Vm>,
//!     claim: RoutingClaim,
//! }
//!
//! impl Vm for Port {
//!     fn check_extension(&self, capability: Extension) -> io::Result<u32> {
//!         Ok(match capability {
//!             Extension::IrqRouting => 4096, // the number of GSIs
//!             Extension::IrqFd | Extension::IoEventFd => 1,
//!             // Both, so that `PciModern::any_width` makes doorbells that this port accepts.
//!             Extension::IoEventFdAnyLength | Extension::IoEventFdNoLength => 1,
//!             _ => 0,
//!         })
//!     }
//!
//!     fn irqfd(&self, request: &IrqFdRequest<'_>) -> io::Result<()> {
//!         let fd = BorrowedEventFd::from(request.eventfd); // no second descriptor
//!         match request.action {
//!             IrqFdAction::Assign => self.layer.register_irqfd(&fd, request.gsi),
//!             IrqFdAction::Deassign => self.layer.unregister_irqfd(&fd, request.gsi),
//!             // With a resample eventfd.
//!             _ => return Err(io::ErrorKind::Unsupported.into()),
//!         }
//!         .map_err(errno)
//!     }
//!
//!     fn ioeventfd(&self, request: &IoEventFdRequest<'_>) -> io::Result<()> {
//!         let address = match request.bus {
//!             Bus::Pio => IoEventAddress::Pio(request.address),
//!             _ => IoEventAddress::Mmio(request.address),
//!         };
//!         // `unregister_ioevent` finds only what was registered for any value and any width.
//!         if (request.datamatch, request.len) != (None, 0) {
//!             return Err(io::ErrorKind::Unsupported.into());
//!         }
//!         let fd = BorrowedEventFd::from(request.eventfd); // no second descriptor
//!         match request.action {
//!             IoEventFdAction::Assign => self.layer.register_ioevent(&fd, &address, None),
//!             _ => self.layer.unregister_ioevent(&fd, &address),
//!         }
//!         .map_err(errno)
//!     }
//!
//!     fn set_gsi_routing(&self, table: &RouteBuffer) -> io::Result<()> {
//!         let entries = table.iter().map(|entry| self.entry(entry));
//!         let entries: Vec<_> = entries.collect::<io::Result<_>>()?;
//!         self.layer.set_gsi_routing(&entries).map_err(errno)
//!     }
//!
//!     fn signal_msi(&self, _: &MsiMessage) -> io::Result<MsiOutcome> {
//!         Err(io::ErrorKind::Unsupported.into())
//!     }
//!
//!     fn irq_line_status(&self, _: u32, _: bool) -> io::Result<LineStatus> {
//!         Err(io::ErrorKind::Unsupported.into())
//!     }
//!
//!     // Cloud Hypervisor has its IOAPIC in user space.
//!     fn platform(&self) -> io::Result<Option<Platform>> {
//!         Ok(Some(Platform::X86Split))
//!     }
//!
//!     fn routing_claim(&self) -> Option<&RoutingClaim> {
//!         Some(&self.claim)
//!     }
//! }
//!
//! impl Port {
//!     fn entry(&self, entry: RouteEntry) -> io::Result<IrqRoutingEntry> {
//!         let config = match entry.target {
//!             RouteTarget::Msi(MsiMessage { address, data, devid }) => {
//!                 InterruptSourceConfig::MsiIrq(MsiIrqSourceConfig {
//!                     high_addr: (address >> 32) as u32,
//!                     low_addr: address as u32,
//!                     data,
//!                     devid: devid.unwrap_or(0),
//!                 })
//!             }
//!             RouteTarget::Pin { chip, pin } => {
//!                 InterruptSourceConfig::LegacyIrq(LegacyIrqSourceConfig { irqchip: chip, pin })
//!             }
//!             _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
//!         };
//!         Ok(self.layer.make_routing_entry(entry.gsi, &config))
//!     }
//! }
//!
//! /// The errno that KVM has returned, or an error without one.
//! fn errno(error: hypervisor::Error) -> io::Error {
//!     let mut source = error.source();
//!     while let Some(inner) = source {
//!         // In Cloud Hypervisor: `kvm_ioctls::Error` and `errno()`.
//!         let found = inner.downcast_ref::<io::Error>();
//!         if let Some(number) = found.and_then(io::Error::raw_os_error) {
//!             return io::Error::from_raw_os_error(number);
//!         }
//!         source = inner.source();
//!     }
//!     io::Error::other(error)
//! }
//!
//! impl fmt::Debug for Port {
//!     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
//!         f.write_str("Port")
//!     }
//! }
//!
//! # #[derive(Default)]
//! # struct Layer(std::sync::Mutex<Vec<String>>);
//! # impl Layer {
//! #     fn call(&self, call: String) -> hypervisor::Result<()> {
//! #         let mut calls = self.0.lock().unwrap();
//! #         if calls.contains(&call) {
//! #             return Err(hypervisor::Error(Box::new(io::Error::from_raw_os_error(16))));
//! #         }
//! #         calls.push(call);
//! #         Ok(())
//! #     }
//! # }
//! # impl hypervisor::Vm for Layer {
//! #     fn register_irqfd(&self, _: &notify_core::EventFd, gsi: u32) -> hypervisor::Result<()> {
//! #         self.call(format!("irqfd {gsi}"))
//! #     }
//! #     fn unregister_irqfd(&self, _: &notify_core::EventFd, gsi: u32) -> hypervisor::Result<()> {
//! #         self.call(format!("no irqfd {gsi}"))
//! #     }
//! #     fn register_ioevent(
//! #         &self,
//! #         _: &notify_core::EventFd,
//! #         addr: &IoEventAddress,
//! #         _: Option<DataMatch>,
//! #     ) -> hypervisor::Result<()> {
//! #         self.call(format!("ioevent {addr:?}"))
//! #     }
//! #     fn unregister_ioevent(
//! #         &self,
//! #         _: &notify_core::EventFd,
//! #         addr: &IoEventAddress,
//! #     ) -> hypervisor::Result<()> {
//! #         self.call(format!("no ioevent {addr:?}"))
//! #     }
//! #     fn make_routing_entry(
//! #         &self,
//! #         gsi: u32,
//! #         config: &InterruptSourceConfig,
//! #     ) -> IrqRoutingEntry {
//! #         IrqRoutingEntry(gsi, *config)
//! #     }
//! #     fn set_gsi_routing(&self, entries: &[IrqRoutingEntry]) -> hypervisor::Result<()> {
//! #         self.call(format!("{} routes, the first of GSI {}", entries.len(), entries[0].0))
//! #     }
//! # }
//! # use notify_core::EventNotifier;
//! # use std::os::fd::AsFd;
//! # let layer = Arc::new(Layer::default());
//! let claim = RoutingClaim::default();
//! // For `RoutingTable::new`, `IoEventFd::builder` and `DoorbellRegistry::new`:
//! let port: Arc<dyn Vm> = Arc::new(Port { layer: layer.clone(), claim });
//! # let kick = EventNotifier::new()?;
//! # let target = RouteTarget::Msi(MsiMessage { address: 0xfee0_0000, data: 0x40, devid: None });
//! # let mut table = RouteBuffer::new();
//! # table.push(RouteEntry::new(24, target));
//! # port.set_gsi_routing(&table)?;
//! # port.irqfd(&IrqFdRequest::assign(kick.as_fd(), 24))?;
//! # let twice = port.irqfd(&IrqFdRequest::assign(kick.as_fd(), 24)).unwrap_err();
//! # assert_eq!(twice.kind(), io::ErrorKind::ResourceBusy, "the errno is found");
//! # port.irqfd(&IrqFdRequest::deassign(kick.as_fd(), 24))?;
//! # let doorbell = IoEventFdRequest::assign(kick.as_fd(), Bus::Pio, 0x100, 0);
//! # port.ioeventfd(&doorbell)?;
//! # port.ioeventfd(&doorbell.deassign())?;
//! # for refused in [
//! #     port.ioeventfd(&doorbell.datamatch(Some(1))),
//! #     port.irqfd(&IrqFdRequest::assign_resample(kick.as_fd(), 10, kick.as_fd())),
//! #     port.irq_line(10, true),
//! # ] {
//! #     assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
//! # }
//! # let expected = [
//! #     "1 routes, the first of GSI 24",
//! #     "irqfd 24",
//! #     "no irqfd 24",
//! #     "ioevent Pio(256)",
//! #     "no ioevent Pio(256)",
//! # ];
//! # assert_eq!(*layer.0.lock().unwrap(), expected);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With this port each vector has an irqfd of its own. A `LevelLine` is built on the GSI of an
//! IOAPIC pin. The VMM calls `redirect` when the guest writes a redirection entry, and
//! `EoiExits::on_vector` at each `VmExit::IoapicEoi`.
//!
//! # Decorators
//!
//! A port that wraps another one (to log, to count, to inject faults) must forward *every* method,
//! also those with a default. Otherwise the default hides what the inner port can do.

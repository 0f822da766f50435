// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`NoResample`]: why no EOI of a line would be reported.

use std::io;

/// Why the EOIs of a line cannot be reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoResample {
    /// A split irqchip. Its EOIs come as exits, for which the line needs
    /// [`EoiExits`](crate::EoiExits), or never
    /// ([`without_eois`](crate::LevelLineBuilder::without_eois)).
    #[error(
        "the kernel refuses to resample (a split irqchip does): give the line `EoiExits`, or \
         build it `without_eois` if none are reported"
    )]
    Refused(#[source] io::Error),

    /// The line was built [`without_eois`](crate::LevelLineBuilder::without_eois), and the device
    /// waits for them.
    #[error("the line was built `without_eois`: join it with a device that does not wait for them")]
    WithoutEois,

    /// The port has no resampling irqfd. The GSI is routed to a pin in the kernel, so the VMM sees
    /// no EOI either.
    #[error("the port has no resampling irqfd: join the line with a device that asserts by itself")]
    Unsupported(#[source] io::Error),

    /// The kernel has interrupt controllers, and the GSI leads to none of their pins.
    #[error("it leads to no pin, and only those of pins are heard of")]
    NoPin,

    /// A split irqchip tells of the EOIs of its first GSIs alone, as many as it was created with.
    #[error("only those of the first {reserved} GSIs come as exits")]
    NotReserved {
        /// How many the table takes it for; see
        /// [`RoutingTableBuilder::reserved_gsis`](irq_routing::RoutingTableBuilder::reserved_gsis).
        reserved: u32,
    },

    /// riscv64: the kernel takes a resampling irqfd, and never signals it.
    #[error("the kernel does not notice them on this machine")]
    NeverTold,

    /// The kernel lacks KVM_CAP_IRQFD_RESAMPLE.
    #[error("the kernel cannot resample")]
    NoCapability,
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IntxDevice`]: what is asked of VFIO.

use std::fmt;
use std::io;

use notify_core::EventNotifier;

/// A passed-through device with an INTx interrupt: four uses of VFIO_DEVICE_SET_IRQS on
/// VFIO_PCI_INTX_IRQ_INDEX.
///
/// VFIO masks the interrupt by itself when it comes, and signals the trigger; it stays masked until
/// it is unmasked. If the device still wants an interrupt then, it comes again.
///
/// With the crate `vfio-ioctls` (0.10) and a device that has it as `device: VfioDevice`:
///
/// ```text
/// impl IntxDevice for MyDevice {
///     fn set_trigger(&self, trigger: Option<&EventNotifier>) -> io::Result<()> {
///         match trigger {
///             // Until then there is no INTx, and masking it is EINVAL.
///             Some(trigger) => {
///                 let trigger = vec![trigger.as_ref()];
///                 self.device.enable_irq(VFIO_PCI_INTX_IRQ_INDEX, trigger)
///             }
///             None => self.device.disable_irq(VFIO_PCI_INTX_IRQ_INDEX),
///         }
///         .map_err(io::Error::other)
///     }
///
///     fn set_unmask(&self, unmask: Option<&EventNotifier>) -> io::Result<()> {
///         match unmask {
///             Some(unmask) => self
///                 .device
///                 .set_irq_resample_fd(VFIO_PCI_INTX_IRQ_INDEX, vec![unmask.as_ref()])
///                 .map_err(io::Error::other),
///             // The crate cannot say it; `disable_irq`, which follows, takes it away too.
///             None => Ok(()),
///         }
///     }
///
///     fn unmask(&self) -> io::Result<()> {
///         self.device.unmask_irq(VFIO_PCI_INTX_IRQ_INDEX).map_err(io::Error::other)
///     }
///
///     fn mask(&self) -> io::Result<()> {
///         // The crate has no such method: VFIO_DEVICE_SET_IRQS on `self.device.as_raw_fd()`,
///         // with the flags VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK, index
///         // VFIO_PCI_INTX_IRQ_INDEX, start 0 and count 1.
///         mask_intx(&self.device)
///     }
/// }
/// ```
///
/// Kernel source: `drivers/vfio/pci/vfio_pci_intrs.c`.
pub trait IntxDevice: fmt::Debug + Send + Sync {
    /// ACTION_MASK. It is asked for only while there is a trigger.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn mask(&self) -> io::Result<()>;

    /// ACTION_UNMASK. It is asked for only while there is a trigger.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn unmask(&self) -> io::Result<()>;

    /// ACTION_TRIGGER: an interrupt of the device signals this eventfd; with `None`, INTx is
    /// disabled.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn set_trigger(&self, trigger: Option<&EventNotifier>) -> io::Result<()>;

    /// ACTION_UNMASK with an eventfd: a signal of it unmasks the interrupt. With `None` VFIO lets
    /// go of the eventfd. It is called only while there is a trigger.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn set_unmask(&self, unmask: Option<&EventNotifier>) -> io::Result<()>;
}

// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`IntxDevice`]: the requests to VFIO.

use std::fmt;
use std::io;

use notify_core::EventNotifier;

/// A passed-through device with an INTx interrupt, as the VMM implements it.
///
/// Its methods are four uses of VFIO_DEVICE_SET_IRQS on VFIO_PCI_INTX_IRQ_INDEX. When the interrupt
/// comes, VFIO masks it and signals the trigger. If the device still wants an interrupt when it is
/// unmasked, the interrupt comes again.
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
///             // The crate has no call for this; `disable_irq`, which follows, does it too.
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
    /// Masks the interrupt (ACTION_MASK). Called only while there is a trigger.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn mask(&self) -> io::Result<()>;

    /// Unmasks the interrupt (ACTION_UNMASK). Called only while there is a trigger.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn unmask(&self) -> io::Result<()>;

    /// Sets the eventfd that the interrupt signals (ACTION_TRIGGER); `None` disables INTx.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn set_trigger(&self, trigger: Option<&EventNotifier>) -> io::Result<()>;

    /// Sets the eventfd whose signals unmask the interrupt (ACTION_UNMASK); `None` removes it.
    /// Called only while there is a trigger.
    ///
    /// # Errors
    ///
    /// Those of VFIO.
    fn set_unmask(&self, unmask: Option<&EventNotifier>) -> io::Result<()>;
}

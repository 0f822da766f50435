// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`PassthroughIntx`]: a device's interrupt and a line, connected without the VMM.

use std::sync::Arc;

use notify_core::{EventNotifier, Rejected};

use super::{IntxDevice, IntxError};
use crate::{LevelIrq, LevelLine};

/// The INTx interrupt of a passed-through device, connected to a line.
///
/// An interrupt of the device signals the trigger, which raises the line. The guest's EOI lowers it
/// and signals the eventfd by which VFIO unmasks the interrupt. No thread of the VMM takes part
/// where the pins are in the kernel. On a split irqchip, or with the VMM's own controller, the VMM
/// reports the EOIs; with the latter it also takes the trigger ([`irq`](Self::irq),
/// [`LevelIrq::take_trigger`]). The guide has [a picture](crate::guide::passthrough).
///
/// Dropping it disables the interrupt; what fails is logged. That blocks for three calls of the
/// device (VFIO_DEVICE_SET_IRQS) and one KVM_IRQFD.
///
/// QEMU source: `vfio_intx_enable_kvm` and `vfio_intx_disable_kvm` in `hw/vfio/pci.c`.
///
/// ```
/// # use std::io;
/// # use std::sync::Arc;
/// # use irq_routing::{Platform, RoutingTable, Wiring};
/// # use irqfd::{LevelLine, vfio::{IntxDevice, PassthroughIntx}};
/// # use notify_core::EventNotifier;
/// # use notify_sim::SimVm;
/// # #[derive(Debug)]
/// # struct Device;
/// # impl IntxDevice for Device {
/// #     fn mask(&self) -> io::Result<()> { Ok(()) }
/// #     fn unmask(&self) -> io::Result<()> { Ok(()) }
/// #     fn set_trigger(&self, _: Option<&EventNotifier>) -> io::Result<()> { Ok(()) }
/// #     fn set_unmask(&self, _: Option<&EventNotifier>) -> io::Result<()> { Ok(()) }
/// # }
/// # let vm = Arc::new(SimVm::builder().build());
/// # let table = RoutingTable::builder(vm).wiring(Wiring::pc()).build()?;
/// # let device = Arc::new(Device);
/// let line = LevelLine::builder(table.line(11)?).build()?;
/// let intx = PassthroughIntx::enable(&line, device)?;
/// // The guest sets INTX_DISABLE, or chooses MSI-X:
/// intx.disable()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it disables the interrupt"]
pub struct PassthroughIntx {
    device: Arc<dyn IntxDevice>,
    /// Until it has left the line.
    irq: Option<LevelIrq>,
    enabled: bool,
}

impl PassthroughIntx {
    /// Connects the interrupt of a device to a line.
    ///
    /// The steps are: set the trigger, without which VFIO refuses to mask; mask; discard what came
    /// meanwhile, which comes again at the unmask; join the line; let the resample notifier unmask;
    /// unmask.
    ///
    /// # Errors
    ///
    /// [`IntxError`]: all steps are undone.
    pub fn enable(line: &LevelLine, device: Arc<dyn IntxDevice>) -> Result<Self, IntxError> {
        let trigger = Arc::new(EventNotifier::new()?);
        let resample = Arc::new(EventNotifier::new()?);
        device
            .set_trigger(Some(&trigger))
            .map_err(IntxError::set_trigger)?;
        // From here on dropping it undoes what was done.
        let mut intx = Self {
            device,
            irq: None,
            enabled: true,
        };
        intx.device.mask().map_err(IntxError::mask)?;
        trigger.consume()?;
        let joined = line.join_exported(Some(trigger), Arc::clone(&resample));
        intx.irq = Some(joined.map_err(crate::LevelError::from)?);
        intx.device
            .set_unmask(Some(&resample))
            .map_err(IntxError::set_unmask)?;
        intx.device.unmask().map_err(IntxError::unmask)?;
        Ok(intx)
    }

    /// Returns the device's share of the line.
    #[must_use]
    pub fn irq(&self) -> Option<&LevelIrq> {
        self.irq.as_ref()
    }

    /// Disconnects the interrupt: masks it, leaves the line, removes the unmask and the trigger.
    ///
    /// # Errors
    ///
    /// [`IntxError`], at the first step that fails. The error returns the interrupt, which can be
    /// disabled again. It is masked, unless masking failed; if it is still on the line, it is
    /// masked until the next EOI.
    pub fn disable(mut self) -> Result<(), Rejected<Self, IntxError>> {
        match self.try_disable() {
            Ok(()) => Ok(()),
            Err(error) => Err(Rejected::new(error, self)),
        }
    }

    fn try_disable(&mut self) -> Result<(), IntxError> {
        self.device.mask().map_err(IntxError::mask)?;
        if let Some(irq) = self.irq.take()
            && let Err(rejected) = irq.leave()
        {
            self.irq = Some(rejected.value);
            return Err(IntxError::Line(rejected.error));
        }
        self.device
            .set_unmask(None)
            .map_err(IntxError::set_unmask)?;
        self.device
            .set_trigger(None)
            .map_err(IntxError::set_trigger)?;
        self.enabled = false;
        Ok(())
    }
}

impl Drop for PassthroughIntx {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.enabled) {
            return;
        }
        let device = &self.device;
        let masked = device.mask().map_err(IntxError::mask);
        // Which logs by itself.
        drop(self.irq.take());
        let unmask = device.set_unmask(None).map_err(IntxError::set_unmask);
        let trigger = device.set_trigger(None).map_err(IntxError::set_trigger);
        for error in [masked, unmask, trigger]
            .into_iter()
            .filter_map(Result::err)
        {
            log::error!("a dropped INTx interrupt is not wholly disabled: {error}");
        }
    }
}

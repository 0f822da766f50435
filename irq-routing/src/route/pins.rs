// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Pins`]: the pins that one GSI is routed to.

use std::fmt;

use crate::{Error, Pin};

/// The pins of one GSI: at least one, at most one of each chip, all of one platform.
///
/// In a PC most GSIs are routed both to a PIC and to the IOAPIC, because the VMM cannot know which
/// of the two the guest uses.
///
/// ```
/// use irq_routing::{IrqChip, Pin, Pins};
///
/// let timer = Pins::new([Pin::new(IrqChip::PicMaster, 0)?, Pin::new(IrqChip::IoApic, 2)?])?;
/// assert_eq!(timer.iter().count(), 2);
/// assert!(Pins::new([Pin::new(IrqChip::IoApic, 1)?, Pin::new(IrqChip::IoApic, 2)?]).is_err());
/// # Ok::<(), irq_routing::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pins {
    first: Pin,
    /// The others, in the order of their chips: no platform has more than three.
    others: [Option<Pin>; 2],
}

impl Pins {
    /// Creates a set of pins, given in any order.
    ///
    /// # Errors
    ///
    /// [`Error::NoPins`], [`Error::TwoPinsOfOneChip`], [`Error::TwoPlatforms`].
    pub fn new(pins: impl IntoIterator<Item = Pin>) -> Result<Self, Error> {
        let mut pins = pins.into_iter();
        let mut set = Self::from(pins.next().ok_or(Error::NoPins)?);
        pins.try_for_each(|pin| set.insert(pin))?;
        Ok(set)
    }

    fn insert(&mut self, pin: Pin) -> Result<(), Error> {
        let (one, other) = (self.first.chip(), pin.chip());
        if !one.is_beside(other) {
            return Err(Error::TwoPlatforms { one, other });
        }
        if self.iter().any(|present| present.chip() == other) {
            return Err(Error::TwoPinsOfOneChip { chip: other });
        }
        let [second, third] = self.others;
        let mut all = [Some(self.first), second, third, Some(pin)];
        // Absent pins last: a platform has at most three chips, so the fourth is absent.
        all.sort_by_key(|pin| (pin.is_none(), *pin));
        if let [Some(first), second, third, _] = all {
            (self.first, self.others) = (first, [second, third]);
        }
        Ok(())
    }

    /// Returns the pins, in the order of the kernel's numbers for their chips.
    pub fn iter(&self) -> impl Iterator<Item = Pin> + Clone + use<> {
        let [second, third] = self.others;
        [Some(self.first), second, third].into_iter().flatten()
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        self.iter().skip(1).try_for_each(|pin| write!(f, ", {pin}"))
    }
}

impl From<Pin> for Pins {
    fn from(pin: Pin) -> Self {
        Self {
            first: pin,
            others: [None; 2],
        }
    }
}

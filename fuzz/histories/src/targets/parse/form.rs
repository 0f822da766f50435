// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`Form`]: what an MSI capability is built with, and which registers it can have (PCI Local Bus
//! 3.0, 6.8.1; PCI Express Base 5.0, 7.7.1).

use irqfd::msi::Registers;
use serde_json::Value;

/// What a device is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) log: u32,
    pub(super) wide: bool,
    pub(super) maskable: bool,
    pub(super) extended: bool,
}

impl Form {
    pub(super) fn of(shape: u16) -> Self {
        Self {
            log: u32::from(shape % 8).min(5),
            wide: shape & 8 != 0,
            maskable: shape & 0x10 != 0,
            extended: shape & 0x20 != 0,
        }
    }

    pub(super) fn vectors(self) -> u64 {
        1 << self.log
    }

    /// Where the data is.
    pub(super) fn data(self) -> usize {
        if self.wide { 12 } else { 8 }
    }

    pub(super) fn len(self) -> usize {
        let rest = match (self.maskable, self.extended) {
            (true, _) => 12,
            (false, true) => 4,
            (false, false) => 2,
        };
        self.data() + rest
    }
}

/// The form of a saved state, if a capability can have it.
pub(super) fn form_of(value: &Value) -> Option<Form> {
    let vectors = number(value, "vectors");
    let log = (0..6).find(|log| 1 << log == vectors)?;
    Some(Form {
        log,
        wide: value["wide"] == true,
        maskable: value["maskable"] == true,
        extended: value["extended_data"] == true,
    })
}

pub(super) fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().expect("a number")
}

/// Whether a capability of this form can have these registers.
pub(super) fn can_be(form: Form, value: &Value) -> bool {
    let granted = number(value, "granted");
    let all = (1_u64 << form.vectors()) - 1;
    let address = |value: &Value| {
        let address = number(value, "address");
        address.is_multiple_of(4) && (form.wide || address < 1 << 32)
    };
    let (masked, pending) = (number(value, "masked"), number(value, "pending"));
    let is_extended = value["extended_data_enabled"] == true;
    (0..=form.log).any(|log| 1 << log == granted)
        && address(value)
        && address(&value["sends"])
        && masked <= if form.maskable { all } else { 0 }
        && pending <= all
        && (form.extended || !is_extended)
        && (form.extended || number(value, "data") < 1 << 16)
        && (is_extended || number(&value["sends"], "data") < 1 << 16)
}

/// The form that these registers imply, if a capability can have them.
pub(super) fn form_of_bytes(registers: &Registers) -> Option<Form> {
    let bytes = &registers.capability;
    let word = |at: usize| {
        bytes
            .get(at..at + 2)
            .map(|it| u16::from_le_bytes([it[0], it[1]]))
    };
    let control = word(2)?;
    let form = Form {
        log: u32::from(control >> 1 & 7),
        wide: control & 0x80 != 0,
        maskable: control & 0x100 != 0,
        extended: control & 0x200 != 0,
    };
    if form.log > 5 || bytes.len() != form.len() {
        return None;
    }
    let long =
        |at: usize| u64::from(word(at).unwrap_or(0)) | u64::from(word(at + 2).unwrap_or(0)) << 16;
    let all = (1_u64 << form.vectors()) - 1;
    let masked = if form.maskable {
        long(form.data() + 4)
    } else {
        0
    };
    let upper = if form.len() > form.data() + 2 {
        long(form.data()) >> 16
    } else {
        0
    };
    let fits = bytes[0] == 5
        && control & 0xf800 == 0
        && u32::from(control >> 4 & 7) <= form.log
        && (form.extended || control & 0x400 == 0)
        && long(4) % 4 == 0
        && (form.extended || upper == 0)
        && masked <= all
        && u64::from(registers.pending) <= all;
    fits.then_some(form)
}

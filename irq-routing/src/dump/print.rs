// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Prints a [`Dump`].

use std::fmt;

use notify_core::RouteTarget;

use super::matrix::{self, ChipMatrix};
use super::{Dump, DumpEntry, USUAL_LIMIT};
use crate::route::kernel_entries::{DumpTarget, EntryKind};
use crate::{MsiMessage, Platform, RoutingTable};

/// The names of platforms in a dump.
pub(super) const PLATFORMS: [(Platform, &str); 4] = [
    (Platform::X86, "x86"),
    (Platform::X86Split, "x86-split"),
    (Platform::Arm64Gic, "arm64-gic"),
    (Platform::Riscv64Aia, "riscv64-aia"),
];

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = PLATFORMS.iter();
        let mut unusual = names.filter(|(platform, _)| *platform != Platform::X86);
        if let Some((_, name)) = unusual.find(|(platform, _)| *platform == self.platform) {
            writeln!(f, "platform={name}")?;
        }
        if self.limit != USUAL_LIMIT {
            writeln!(f, "gsis={}", self.limit)?;
        }
        for entry in &self.entries {
            writeln!(f, "{entry}")?;
        }
        match &self.matrix {
            Some(matrix) => print_matrix(f, matrix, self.platform),
            None => Ok(()),
        }
    }
}

/// Prints [`RoutingTable::dump`].
impl fmt::Display for RoutingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dump().fmt(f)
    }
}

impl fmt::Display for DumpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.target.kind().map_or(1, EntryKind::number);
        write!(f, "gsi={} type={kind}", self.gsi)?;
        let DumpTarget::Entry(target) = self.target else {
            return Ok(());
        };
        match target {
            RouteTarget::Pin { chip, pin } => write!(f, " {chip} {pin}"),
            RouteTarget::Msi(MsiMessage {
                address,
                data,
                devid,
            }) => {
                write!(f, " address={address:#x} data={data:#x}")?;
                match devid {
                    Some(devid) => write!(f, " devid={devid:#x}"),
                    None => Ok(()),
                }
            }
            RouteTarget::HvSint { vcpu, sint } => write!(f, " vcpu={vcpu} sint={sint}"),
            RouteTarget::XenEvtchn {
                port,
                vcpu,
                priority,
            } => write!(f, " port={port} vcpu={vcpu} priority={priority}"),
            _ => Ok(()),
        }
    }
}

fn print_matrix(
    f: &mut fmt::Formatter<'_>,
    matrix: &ChipMatrix,
    platform: Platform,
) -> fmt::Result {
    writeln!(f, "chip:")?;
    let (rows, columns) = matrix::least(platform);
    let shape = matrix.shape().chain(std::iter::repeat(0));
    for (row, used) in shape.take(rows.max(matrix.shape().count())).enumerate() {
        f.write_str("{")?;
        for column in 0..used.max(columns) {
            let comma = if column == 0 { "" } else { ", " };
            match matrix.cell(row, column) {
                Some(gsi) => write!(f, "{comma}{gsi}")?,
                None => write!(f, "{comma}-1")?,
            }
        }
        writeln!(f, "}}")?;
    }
    Ok(())
}

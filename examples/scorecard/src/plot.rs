// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rows as bars, on a logarithmic scale.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::row::{Row, Unit};

const WIDTH: u32 = 900;
const ROW: u32 = 56;
const OURS: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const OTHER: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);

/// Writes a picture with two bars for each row.
pub(crate) fn bars(path: &Path, rows: &[(&str, Row)]) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let rows = || rows.iter().filter(|(_, row)| row.unit == Unit::Nanoseconds);
    let height = 110 + ROW * u32::try_from(rows().count())?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let times = rows().flat_map(|(_, row)| [row.ours, row.others]);
    let longest = times.fold(10.0, f64::max) * 3.0;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Ours (blue) and the alternative (grey): nanoseconds",
            ("sans-serif", 18),
        )
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(8)
        .build_cartesian_2d((1.0..longest).log_scale(), 0.0..rows().count() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_labels(8)
        .draw()?;
    for (place, (name, row)) in rows().rev().enumerate() {
        let bottom = place as f64;
        let bar = |from: f64, ns: f64, color: RGBColor| {
            let corners = [(1.0, bottom + from), (ns, bottom + from + 0.25)];
            Rectangle::new(corners, color.filled())
        };
        let label = format!("{name}: {:.3} of {}", row.ratio(), row.other);
        let text = Text::new(label, (1.1, bottom + 0.95), ("sans-serif", 13).into_font());
        chart.draw_series([bar(0.36, row.ours, OURS), bar(0.08, row.others, OTHER)])?;
        chart.draw_series([text])?;
    }
    area.present()?;
    Ok(())
}

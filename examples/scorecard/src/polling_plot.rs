// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Latency over the kick rate, with polling on and off, on logarithmic scales.

use std::error::Error;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use plotters::prelude::*;

use crate::unit::Unit;

const ON: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const OFF: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// One rate: median and 99th percentile with polling on and off, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) rate: f64,
    pub(crate) on: (f64, f64),
    pub(crate) off: (f64, f64),
}

/// The rates that were measured.
static POINTS: Mutex<Vec<Point>> = Mutex::new(Vec::new());

/// Adds a rate to the picture.
pub(crate) fn add(point: Point) {
    let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
    points.push(point);
    points.sort_by(|one, other| one.rate.total_cmp(&other.rate));
}

/// Writes the picture, if a rate was measured.
pub(crate) fn draw(path: &Path) -> Result<(), Box<dyn Error>> {
    let points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
    if points.is_empty() {
        return Ok(());
    }
    let area = SVGBackend::new(path, (720, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let all = points.iter().flat_map(|point| [point.on, point.off]);
    let all: Vec<f64> = all.flat_map(|(p50, p99)| [p50, p99]).collect();
    let least = all.iter().copied().fold(f64::MAX, f64::min).max(1.0) / 2.0;
    let most = all.iter().copied().fold(least, f64::max) * 2.0;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "From a guest's doorbell to the handler: adaptive polling on and off",
            ("sans-serif", 16),
        )
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((10_000.0..400_000.0).log_scale(), (least..most).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("kicks a second that the guest is to make")
        .x_label_formatter(&|rate| format!("{:.0}k", rate / 1e3))
        .y_label_formatter(&|nanoseconds| Unit::Nanoseconds.show_round(*nanoseconds))
        .draw()?;
    type Pick = fn(&Point) -> f64;
    let lines: [(&str, RGBColor, u32, Pick); 4] = [
        ("p50, polling on", ON, 3, |point| point.on.0),
        ("p50, polling off", OFF, 3, |point| point.off.0),
        ("p99, polling on", ON, 1, |point| point.on.1),
        ("p99, polling off", OFF, 1, |point| point.off.1),
    ];
    for (name, color, width, pick) in lines {
        let places: Vec<_> = points
            .iter()
            .map(|point| (point.rate, pick(point)))
            .collect();
        let style = color.stroke_width(width);
        chart
            .draw_series(LineSeries::new(places.clone(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        let dots = places
            .into_iter()
            .map(|place| Circle::new(place, 2 + width, color.filled()));
        chart.draw_series(dots)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

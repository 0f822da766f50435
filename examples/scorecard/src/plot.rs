// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Rows of one unit as bars, on a logarithmic scale.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::row::Row;

const WIDTH: u32 = 960;
/// The height of a row, and of everything else.
const ROW: u32 = 52;
const REST: u32 = 110;
/// Where the bars begin, and the room right of them for the numbers.
const LEFT: u32 = 300;
const RIGHT: u32 = 110;
const OURS: RGBColor = RGBColor(0x1b, 0x6c, 0xa8);
const OTHER: RGBColor = RGBColor(0xa8, 0xa8, 0xa8);
const SMALL: RGBColor = RGBColor(0x60, 0x60, 0x60);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes a picture with two bars for each row, each with its number.
pub(crate) fn bars(path: &Path, title: &str, rows: &[(&str, &Row)]) -> Result<(), Box<dyn Error>> {
    let unit = rows.first().ok_or("no rows")?.1.unit;
    let number = u32::try_from(rows.len())?;
    let area = SVGBackend::new(path, (WIDTH, REST + ROW * number)).into_drawing_area();
    area.fill(&WHITE)?;
    head(&area, title)?;
    let chart_area = area.margin(60, 8, 0, RIGHT);
    let values = || rows.iter().flat_map(|(_, row)| [row.ours, row.others]);
    let values = || values().filter(|value| *value > 0.0);
    // Whole decades; no bar ends within the first.
    let least = values().fold(f64::MAX, f64::min).log10().floor() - 1.0;
    let most = values().fold(f64::MIN_POSITIVE, f64::max).log10().ceil();
    let (low, high) = (10_f64.powf(least), 10_f64.powf(most.max(least + 1.0)));
    let mut chart = ChartBuilder::on(&chart_area)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, 36)
        .build_cartesian_2d((low..high).log_scale(), 0.0..f64::from(number))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .x_labels((most - least) as usize + 1)
        .x_label_formatter(&|value| unit.show_round(*value))
        .x_label_style(("sans-serif", 13))
        .draw()?;
    for (place, (name, row)) in rows.iter().rev().enumerate() {
        let bottom = place as f64;
        for (from, value, color) in [(0.5, row.ours, OURS), (0.14, row.others, OTHER)] {
            let end = value.max(low);
            let corners = [(low, bottom + from), (end, bottom + from + 0.3)];
            chart.draw_series([Rectangle::new(corners, color.filled())])?;
            let (x, y) = chart.backend_coord(&(end, bottom + from + 0.15));
            text(&area, unit.show(value), (x + 6, y), 13, BLACK, HPos::Left)?;
        }
        let (x, y) = chart.backend_coord(&(low, bottom + 0.65));
        text(
            &area,
            (*name).to_owned(),
            (x - 10, y),
            15,
            BLACK,
            HPos::Right,
        )?;
        let (x, y) = chart.backend_coord(&(low, bottom + 0.29));
        text(
            &area,
            row.other.to_owned(),
            (x - 10, y),
            12,
            SMALL,
            HPos::Right,
        )?;
    }
    area.present()?;
    Ok(())
}

/// The title, and the legend.
fn head(area: &Area<'_>, title: &str) -> Result<(), Box<dyn Error>> {
    text(area, title.to_owned(), (16, 24), 20, BLACK, HPos::Left)?;
    let words = ["ours", "the other way, named below each row"];
    for ((x, color), words) in [(16, OURS), (86, OTHER)].into_iter().zip(words) {
        area.draw(&Rectangle::new([(x, 42), (x + 12, 54)], color.filled()))?;
        text(area, words.to_owned(), (x + 18, 48), 13, BLACK, HPos::Left)?;
    }
    Ok(())
}

fn text(
    area: &Area<'_>,
    text: String,
    at: (i32, i32),
    size: u32,
    color: RGBColor,
    side: HPos,
) -> Result<(), Box<dyn Error>> {
    let style = TextStyle::from(("sans-serif", size).into_font()).color(&color);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// The positions of a text, from the left and the top.
    fn places<'a>(picture: &'a str, text: &str) -> Vec<(&'a str, &'a str)> {
        let of = |element: &'a str, name: &str| {
            let (_, value) = element.split_once(&format!(" {name}=\"")).unwrap();
            value.split_once('"').unwrap().0
        };
        let elements = picture.split("<text").skip(1);
        let found = elements.filter(|element| element.contains(&format!("\n{text}\n")));
        found.map(|it| (of(it, "x"), of(it, "y"))).collect()
    }

    #[test]
    fn each_row_has_its_names_and_numbers_at_places_of_their_own() {
        let rows = [
            Row::times("an exit to user space", 676.0, 9_200.0, ""),
            Row::times("one commit for each", 1.8e6, 3.3e9, ""),
            Row::times(
                "a thread of the VMM that carries kicks and calls",
                41e3,
                78e3,
                "",
            ),
        ];
        let named: Vec<_> = ["kick", "bringup_batch_2048", "vhost_user_roundtrip"]
            .into_iter()
            .zip(&rows)
            .collect();
        let path = std::env::temp_dir().join(format!("plot-{}.svg", std::process::id()));
        bars(&path, "Some rows", &named).unwrap();
        let picture = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut all = Vec::new();
        for (name, row) in named {
            let [ours, other] = [row.ours, row.others].map(|value| row.unit.show(value));
            for text in [name, row.other, &ours, &other] {
                let places = places(&picture, text);
                assert_eq!(places.len(), 1, "{text} in {picture}");
                all.extend(places);
            }
        }
        // Names stand above each other, and numbers too.
        let mut heights: Vec<_> = all.iter().map(|(_, y)| *y).collect();
        heights.sort_unstable();
        heights.dedup();
        assert_eq!(heights.len(), 6, "{all:?}");
    }
}

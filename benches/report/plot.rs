//! Plots of ratios: each run a dot, the median a bar, the goal a line.

use std::path::Path;

use benches::row::{Row, Unit};
use plotters::prelude::*;

/// The height of a row and of the margins, and the widths of the plot and of the labels.
const ROW: u32 = 44;
const AROUND: u32 = 90;
const WIDTH: u32 = 1_200;
const NAMES: u32 = 640;

/// Plots the ratios among `rows`. Returns whether there are any.
pub(crate) fn ratios(path: &Path, title: &str, rows: &[Row]) -> bool {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.unit == Unit::Ratio).collect();
    if rows.is_empty() {
        return false;
    }
    let count = u32::try_from(rows.len()).unwrap();
    let root = SVGBackend::new(path, (WIDTH, AROUND + ROW * count)).into_drawing_area();
    draw(&root, title, &rows).unwrap();
    root.present().unwrap();
    true
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(
    root: &Area<'_>,
    title: &str,
    rows: &[&Row],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    // At least one step stays empty: a scale with a single value has no extent.
    let last = rows.len().max(2) - 1;
    let farthest = |row: &&Row| {
        row.spread()
            .1
            .max(row.goal.map_or(1.0, benches::row::Goal::figure))
    };
    let most = rows.iter().map(farthest).fold(1.0, f64::max) * 1.05;
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(root)
        .caption(
            format!("{title}: ours divided by the baseline"),
            ("sans-serif", 18),
        )
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(0.0..most, (0..last).into_segmented())?;
    // The first row at the top.
    let name = |place: &SegmentValue<usize>| {
        let SegmentValue::CenterOf(place) = place else {
            return String::new();
        };
        let row = last
            .checked_sub(*place)
            .and_then(|position| rows.get(position));
        row.map(|row| row.what.clone()).unwrap_or_default()
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh()
        .x_max_light_lines(1)
        .y_labels(last + 1)
        .y_label_formatter(&name)
        .label_style(("sans-serif", 12))
        .draw()?;
    for (position, row) in rows.iter().enumerate() {
        let place = last - position;
        let (exact, center) = (SegmentValue::Exact, SegmentValue::CenterOf(place));
        let colour = if row.is_reached() == Some(false) {
            RED
        } else {
            BLUE
        };
        let mut bar = Rectangle::new(
            [(0.0, exact(place)), (row.median(), exact(place + 1))],
            colour.mix(0.3).filled(),
        );
        bar.set_margin(9, 9, 0, 0);
        chart.draw_series([bar])?;
        let dot =
            |figure: &f64| Circle::new((*figure, center.clone()), 3, colour.mix(0.6).filled());
        chart.draw_series(row.figures.iter().map(dot))?;
        if let Some(goal) = row.goal {
            let line = [
                (goal.figure(), exact(place)),
                (goal.figure(), exact(place + 1)),
            ];
            chart.draw_series([PathElement::new(line, BLACK.stroke_width(2))])?;
        }
    }
    Ok(())
}

//! The picture: how far from the limit each way is, over all cells without loss.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::grid::Measured;
use crate::report::ratios;
use crate::ways::Way;

const COLOURS: [RGBColor; 4] =
    [RGBColor(86, 180, 233), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(40, 40, 40)];
/// Beyond, a curve leaves the picture.
const TOP: f64 = 32.0;

/// Draws a panel for each receive buffer: the cells along, from the best to the worst for each way; and up, the time
/// against the limit.
///
/// # Errors
/// When the file can't be written.
pub fn draw(path: &Path, grid: &[Measured]) -> anyhow::Result<()> {
    let mut receives: Vec<usize> = grid.iter().map(|measured| measured.cell.receive).collect();
    receives.sort_unstable();
    receives.dedup();
    let area = SVGBackend::new(path, (360 * receives.len().max(1) as u32, 400)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    for (panel, receive) in area.split_evenly((1, receives.len().max(1))).iter().zip(&receives) {
        let cells = || {
            let fits =
                move |measured: &&Measured| measured.cell.receive == *receive && measured.cell.link.loss_permille == 0;
            grid.iter().filter(fits)
        };
        let caption = format!("receive buffer {receive} bytes");
        let mut chart = ChartBuilder::on(panel)
            .margin(12)
            .caption(caption, ("sans-serif", 16))
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(0f64..100f64, (0.95f64..TOP).log_scale())
            .map_err(|error| failed(&error))?;
        chart
            .configure_mesh()
            .x_desc("cells, from the best to the worst, in %")
            .y_desc("time against the limit")
            .x_label_formatter(&|share| format!("{share:.0}"))
            .x_labels(6)
            .y_label_formatter(&|ratio| format!("{ratio:.0}x"))
            .light_line_style(TRANSPARENT)
            .draw()
            .map_err(|error| failed(&error))?;
        for (way, colour) in Way::ALL.into_iter().zip(COLOURS) {
            let ratios = ratios(cells(), way);
            let step = 100.0 / ratios.len().max(1) as f64;
            let points = ratios.iter().enumerate().map(|(n, (ratio, _))| ((n as f64 + 0.5) * step, ratio.min(TOP)));
            let width = if way == Way::Sprag { 5 } else { 2 };
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(width)))
                .map_err(|error| failed(&error))?
                .label(way.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(|error| failed(&error))?;
    }
    area.present().map_err(|error| failed(&error))
}

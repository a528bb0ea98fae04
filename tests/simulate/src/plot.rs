//! Plots as SVG, for the pages that explain rollouts.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::characteristics::Line;

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (800, 420);
const HALTED: RGBColor = RGBColor(0x0b, 0x6e, 0x99);
const HARMED: RGBColor = RGBColor(0xc2, 0x4b, 0x2b);

/// Draws how often rollouts halt, and how many devices are harmed, by the share of devices that the
/// release breaks.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn characteristics(path: &Path, lines: &[Line]) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        // Nothing broken has no place on a scale of factors.
        let lines: Vec<_> = lines.iter().filter(|line| line.broken_permille > 0).collect();
        let percent = |line: &&&Line| f64::from(line.broken_permille) / 10.0;
        let harmed_max = lines.iter().map(|line| line.harmed_p99).max().unwrap_or(1);
        let harmed_max = f64::from(u32::try_from(harmed_max)?) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption("Default plan, 100,000 devices", ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(55)
            .right_y_label_area_size(55)
            .build_cartesian_2d((0.1..50.0).log_scale(), 0.0..100.0)?
            .set_secondary_coord((0.1..50.0).log_scale(), 0.0..harmed_max);
        chart
            .configure_mesh()
            .x_desc("devices that the release breaks, in percent")
            .y_desc("rollouts that halt, in percent")
            .draw()?;
        chart.configure_secondary_axes().y_desc("devices harmed, 99 % of runs").draw()?;
        let halted = |line: &&&Line| 100.0 * ratio(line.halted, line.runs);
        let points = lines.iter().map(|line| (percent(&line), halted(&line)));
        chart
            .draw_series(LineSeries::new(points, HALTED.stroke_width(2)))?
            .label("halted")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], HALTED));
        let harmed = |line: &&&Line| f64::from(u32::try_from(line.harmed_p99).unwrap_or(u32::MAX));
        let points = lines.iter().map(|line| (percent(&line), harmed(&line)));
        chart
            .draw_secondary_series(LineSeries::new(points, HARMED.stroke_width(2)))?
            .label("harmed")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], HARMED));
        chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn ratio(part: u64, whole: u64) -> f64 {
    let exact = |number: u64| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    exact(part) / exact(whole).max(1.0)
}

//! Plots as SVG, for the pages that explain rollouts.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;

use crate::characteristics::Line;

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (800, 420);
/// Size of an adoption curve in pixels.
const ADOPTION_SIZE: (u32, u32) = (640, 260);
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

/// Draws how many devices of a fleet are healthy in each of its rollouts, by time: seconds, and the devices.
///
/// # Errors
///
/// When the file cannot be written.
pub(crate) fn adoption(
    path: &Path,
    caption: &str,
    adoption: &[(u64, Vec<u64>)],
    devices: u32,
) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, ADOPTION_SIZE).into_drawing_area();
    let hours = |seconds: u64| exact(seconds) / 3600.0;
    let last = adoption.last().map_or(1.0, |(seconds, _)| hours(*seconds)).max(0.1);
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(0.0..last, 0.0..100.0)?;
        chart.configure_mesh().x_desc("hours").y_desc("healthy, in percent").draw()?;
        for (rollout, colour) in [HALTED, HARMED].into_iter().enumerate() {
            let healthy = adoption.iter().filter_map(|(seconds, all)| {
                let share = 100.0 * ratio(*all.get(rollout)?, devices.into());
                Some((hours(*seconds), share))
            });
            chart.draw_series(LineSeries::new(healthy, colour.stroke_width(2)))?;
        }
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn ratio(part: u64, whole: u64) -> f64 {
    exact(part) / exact(whole).max(1.0)
}

fn exact(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

//! Plots of a trace as SVG: replicas above, the age of the oldest message below.

use std::fmt::Write as _;

use crate::table::Rows;
use crate::world::Outcome;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 44.0;
const PLOT: f64 = WIDTH - LEFT - 12.0;
const HEIGHT: f64 = 120.0;
const TOP: f64 = 54.0;
const GAP: f64 = 34.0;
const POINTS: usize = 180;
/// Ages above this one are cut, in seconds.
const MOST_LAG: f64 = 300.0;
const COLOURS: [&str; 5] = ["#0b7285", "#74c0fc", "#e8590c", "#9c36b5", "#868e96"];

/// A plot of all runs of a trace.
pub(crate) fn plot(rows: &Rows, objective: u64) -> String {
    let height = TOP + 2.0 * HEIGHT + GAP + 26.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"16\" font-size=\"13\" font-weight=\"bold\">{}: {}</text>\n",
        rows.trace, rows.about
    );
    for (index, (name, _)) in rows.runs.iter().enumerate() {
        let x = LEFT + 132.0 * number(index);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"24\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"{}\" y=\"33\">{name}</text>",
            COLOURS[index % COLOURS.len()],
            x + 14.0
        );
    }
    let most = rows.runs.iter().flat_map(|(_, outcome)| outcome.series.iter().map(|point| point.0)).max();
    let most = f64::from(most.unwrap_or(1).max(1));
    let lower = TOP + HEIGHT + GAP;
    axes(&mut svg, TOP, "replicas", most);
    axes(&mut svg, lower, "age of the oldest message in seconds", MOST_LAG);
    let y = lower + HEIGHT * (1.0 - number(objective) / MOST_LAG);
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {y:.1}h{PLOT}\" stroke=\"#fa5252\" stroke-dasharray=\"4 3\"/><text x=\"{}\" y=\"{:.1}\" fill=\"#fa5252\">objective</text>",
        LEFT + PLOT - 50.0,
        y - 3.0
    );
    // Ours last, so that they are on top.
    for (index, (_, outcome)) in rows.runs.iter().enumerate().rev() {
        let colour = COLOURS[index % COLOURS.len()];
        line(&mut svg, colour, TOP, most, &buckets(outcome, |point| f64::from(point.0)));
        line(&mut svg, colour, lower, MOST_LAG, &buckets(outcome, |point| number(point.1).min(MOST_LAG)));
    }
    let minutes = rows.runs.first().map_or(0, |(_, outcome)| outcome.series.len() / 6);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{0}\">0</text><text x=\"{1}\" y=\"{0}\" text-anchor=\"end\">{minutes} min</text>\n</svg>",
        lower + HEIGHT + 16.0,
        LEFT + PLOT
    );
    svg
}

#[allow(clippy::cast_precision_loss)]
fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or_default() as f64
}

fn axes(svg: &mut String, top: f64, title: &str, most: f64) {
    let bottom = top + HEIGHT;
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {top}V{bottom}h{PLOT}\" fill=\"none\" stroke=\"#adb5bd\"/>\
         <text x=\"{0}\" y=\"{1}\" text-anchor=\"end\">{most}</text><text x=\"{0}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\
         <text x=\"{2}\" y=\"{3}\" fill=\"#495057\">{title}</text>",
        LEFT - 4.0,
        top + 8.0,
        LEFT + 4.0,
        top - 3.0
    );
}

/// The largest value of each part of the time.
fn buckets(outcome: &Outcome, get: impl Fn(&(u32, u64)) -> f64) -> Vec<f64> {
    let size = outcome.series.len().div_ceil(POINTS).max(1);
    outcome.series.chunks(size).map(|chunk| chunk.iter().map(&get).fold(0.0, f64::max)).collect()
}

fn line(svg: &mut String, colour: &str, top: f64, most: f64, values: &[f64]) {
    let step = PLOT / number(values.len().max(1));
    let mut path = String::new();
    let mut before = f64::NAN;
    for (index, value) in values.iter().enumerate() {
        let (x, y) = (LEFT + step * number(index), top + HEIGHT * (1.0 - value / most));
        if index == 0 {
            let _ = write!(path, "M{x:.0} {y:.1}");
        } else if (y - before).abs() > 0.01 {
            let _ = write!(path, "H{x:.0}V{y:.1}");
        }
        before = y;
    }
    let _ = writeln!(
        svg,
        "<path d=\"{path}H{:.0}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\"/>",
        LEFT + PLOT
    );
}

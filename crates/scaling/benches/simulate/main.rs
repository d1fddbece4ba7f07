//! Runs the decision of this crate beside three published formulas on the same traces, and prints a table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints figures")]
#![allow(missing_docs, reason = "a program")]

mod many;
mod node;
mod ours;
mod plot;
mod rivals;
mod table;
mod trace;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ours::Lean;
use table::Rows;
use trace::Trace;
use world::{Scaler, World};

const HELP: &str = "\
Runs the scaling decision beside those of KEDA with an HPA, Numaflow and Flink on simulated traces.

Usage:
  just simulate [options] [TRACE...]

Options:
  --seed N     seed of arrivals, work and starts; the same seed prints the same (42)
  --terms      print each decision of Function Mesh with its terms, and nothing of the others
  --lean U,W,C what the lean policy is: utilization in percent, scaleDownWindow and catchUp in seconds (100,60,60)
  --docs       write plots to docs/images/scaling-*.svg, and the tables between the marks of docs/scaling.md
  --help       print this help

Exit status:
  0   all traces were run
  1   wrong usage, or a file cannot be written
";

struct Options {
    seed: u64,
    prints: bool,
    writes_docs: bool,
    lean: Lean,
    only: Vec<String>,
}

/// Reads `U,W,C`.
fn lean(text: &str) -> Option<Lean> {
    let numbers: Option<Vec<u64>> = text.split(',').map(|number| number.parse().ok()).collect();
    let [utilization, window, catch_up] = numbers?[..] else { return None };
    let (down_window, catch_up) = (Duration::from_secs(window), Duration::from_secs(catch_up));
    Some(Lean { utilization: f64::from(u32::try_from(utilization).ok()?) / 100.0, down_window, catch_up })
}

fn options() -> Result<Option<Options>, String> {
    let mut options =
        Options { seed: 42, prints: false, writes_docs: false, lean: Lean::default(), only: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed needs a number".to_owned())?,
            "--lean" => {
                options.lean = lean(&value()?).ok_or("--lean needs three numbers, such as 100,60,60")?;
            }
            "--docs" => options.writes_docs = true,
            "--terms" => options.prints = true,
            // Cargo passes it to every benchmark.
            "--bench" => {}
            other if other.starts_with('-') => return Err(format!("unknown option {other}")),
            _ => options.only.push(argument),
        }
    }
    Ok(Some(options))
}

fn run(trace: &Trace, options: &Options) -> Rows {
    let mut scalers: Vec<Box<dyn Scaler>> = vec![Box::new(ours::Ours::new(options.prints))];
    if !options.prints {
        scalers.push(Box::new(ours::Ours::lean(options.lean)));
        scalers.push(Box::<rivals::Keda>::default());
        scalers.push(Box::<rivals::Numaflow>::default());
        scalers.push(Box::<rivals::Flink>::default());
    }
    let runs = scalers.iter_mut().map(|scaler| {
        let outcome = World::new(trace, options.seed).run(scaler.as_mut());
        (scaler.name(), outcome)
    });
    Rows { trace: trace.name, about: trace.about, runs: runs.collect() }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    let is_wanted = |trace: &Trace| {
        options.only.is_empty() || options.only.iter().any(|name| trace.name.contains(name.as_str()))
    };
    let traces: Vec<_> = trace::all().into_iter().filter(is_wanted).collect();
    let all: Vec<_> = traces.iter().map(|trace| run(trace, &options)).collect();
    println!("{}\n{}", table::table(&all), table::summary(&all));
    if options.only.is_empty() {
        eprintln!("{}", many::measure());
    }
    // Cargo runs benchmarks in the folder of their crate.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    if options.writes_docs
        && let Err(error) = write(&folder, &traces, &all)
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Writes the plots, and the tables between the marks of the page.
fn write(folder: &Path, traces: &[Trace], all: &[Rows]) -> std::io::Result<()> {
    for (trace, rows) in traces.iter().zip(all) {
        let name = format!("scaling-{}.svg", trace.name.replace(' ', "-"));
        std::fs::write(folder.join("images").join(name), plot::plot(rows, trace.objective))?;
    }
    let page = folder.join("scaling.md");
    let text = std::fs::read_to_string(&page)?;
    let marks = ("<!-- simulate -->\n", "<!-- end of simulate -->");
    let parts = text.split_once(marks.0).and_then(|(head, rest)| Some((head, rest.split_once(marks.1)?.1)));
    let Some((head, tail)) = parts else {
        return Err(std::io::Error::other("scaling.md has no marks for the tables"));
    };
    let tables = format!("{}\n{}\n{}", table::traces(all), table::table(all), table::summary(all));
    std::fs::write(&page, format!("{head}{}\n{tables}\n{}{tail}", marks.0, marks.1))
}

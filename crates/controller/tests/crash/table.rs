//! Selects crash points and prints a table of the results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use function_mesh_testkit::ControlPlane;
use futures::stream::{self, StreamExt};

use crate::flows::{self, Flow};
use crate::points::{Mode, Outcome, Reference};

/// Points that run concurrently; they mostly wait.
const AT_A_TIME: usize = 12;

/// One of this number of requests gets a fault in a sample.
const SAMPLE: usize = 4;

struct Point {
    reference: Arc<Reference>,
    n: usize,
    mode: Mode,
}

#[derive(Default)]
struct Row {
    tried: usize,
    slowest: Duration,
    not_triggered: usize,
    red: Vec<String>,
}

/// Runs the flows whose names contain one of these words, or all.
pub(crate) async fn run(
    plane: &'static ControlPlane,
    words: &[String],
    is_all: bool,
    seed: u64,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let is_wanted = |flow: &Flow| words.is_empty() || words.iter().any(|word| flow.name.contains(word));
    let wanted: Vec<_> = flows::all().into_iter().filter(is_wanted).collect();
    let references: Vec<_> = stream::iter(wanted)
        .map(|flow| async move {
            let reference = Reference::of(plane, flow).await;
            reference.map(Arc::new).with_context(|| format!("{:?}, undisturbed", flow.name))
        })
        // Each runs several points concurrently.
        .buffered(AT_A_TIME / 3)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    println!("flows without faults: {:.0?}", began.elapsed());

    let rows = stream::iter(points(&references, is_all, seed))
        .map(async |point| {
            let Point { reference, n, mode } = point;
            let name = reference.flow.name;
            let began = Instant::now();
            // In its own task, to use all processors.
            let outcome = tokio::spawn(async move { reference.inject(n, mode).await }).await;
            (name, n, mode, outcome, began.elapsed())
        })
        .buffer_unordered(AT_A_TIME)
        .fold(BTreeMap::<_, Row>::new(), async |mut rows, (name, n, mode, outcome, time)| {
            let row = rows.entry(name).or_default();
            row.tried += 1;
            row.slowest = row.slowest.max(time);
            let red = match outcome {
                Ok(Outcome::Green) => return rows,
                Ok(Outcome::NotTriggered) => {
                    row.not_triggered += 1;
                    return rows;
                }
                Ok(Outcome::Red { victim, why }) => format!("request {n} ({victim}), {mode}:\n{why}"),
                Err(panic) => format!("request {n}, {mode}: {panic}"),
            };
            println!("{name}: {red}");
            row.red.push(red);
            rows
        })
        .await;
    print(&references, &rows);
    let (tried, red) =
        rows.values().fold((0, 0), |(tried, red), row| (tried + row.tried, red + row.red.len()));
    println!("{tried} crash points in {:.0?}, seed {seed}", began.elapsed());
    ensure!(red == 0, "{red} of {tried} crash points end otherwise than without a fault");
    Ok(())
}

/// Every mode at every request and every watch start, or a sample: one mode at every fourth of them, a different one
/// each time and for each seed.
fn points(references: &[Arc<Reference>], is_all: bool, seed: u64) -> Vec<Point> {
    let mut turn = usize::try_from(seed).unwrap_or_default();
    let mut points = Vec::new();
    for reference in references {
        for (count, modes) in
            [(reference.requests.len(), &Mode::OF_REQUESTS[..]), (reference.watches, &Mode::OF_WATCHES)]
        {
            for n in 1..=count {
                turn = turn.wrapping_add(1);
                let modes = if is_all { modes } else { sample(modes, turn) };
                points.extend(modes.iter().map(|mode| Point {
                    reference: Arc::clone(reference),
                    n,
                    mode: *mode,
                }));
            }
        }
    }
    points
}

fn sample(modes: &[Mode], turn: usize) -> &[Mode] {
    if !turn.is_multiple_of(SAMPLE) {
        return &[];
    }
    let one = (turn / SAMPLE) % modes.len();
    &modes[one..=one]
}

fn print(references: &[Arc<Reference>], rows: &BTreeMap<&str, Row>) {
    println!(
        "\n{:38}{:>10}{:>9}{:>8}{:>15}{:>9}  result",
        "flow", "requests", "watches", "points", "not triggered", "slowest"
    );
    let none = Row::default();
    for reference in references {
        let name = reference.flow.name;
        let Row { tried, slowest, not_triggered, red } = rows.get(name).unwrap_or(&none);
        let result = if red.is_empty() { "green".to_owned() } else { format!("{} red", red.len()) };
        let (requests, watches, slowest) =
            (reference.requests.len(), reference.watches, format!("{slowest:.1?}"));
        println!("{name:38}{requests:>10}{watches:>9}{tried:>8}{not_triggered:>15}{slowest:>9}  {result}");
    }
}

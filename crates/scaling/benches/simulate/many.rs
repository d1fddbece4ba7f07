//! How long the decisions of ten thousand components take.

use std::time::{Duration, Instant};

use function_mesh_observer::{Cause, Monotonic, Point, Reading, UnixMillis, Window};
use function_mesh_scaling::{Component, Flow, Graph, History, Learned, Member, Memory, Policy, Schedule};

const COMPONENTS: u32 = 10_000;

#[allow(clippy::cast_precision_loss)]
fn window(number: u32) -> Window {
    let mut window = Window::new(64);
    for round in 1..=64_u64 {
        let rate = f64::from(number % 97) + (round % 5) as f64;
        window.push(Point {
            at: Monotonic(Duration::from_secs(round * 10)),
            wall: UnixMillis(round * 10_000),
            backlog: Reading::Known(u64::from(number) + round),
            ready_backlog: Reading::Known(u64::from(number) + round),
            unacked: Reading::Known(round),
            in_rate: Reading::Known(rate),
            out_rate: Reading::Known(rate),
            ack_rate: Reading::Known(rate),
            redelivery_rate: Reading::Known(0.0),
            lag: Reading::Known(round),
            ready: 1,
            processed_rate: Reading::Known(rate),
            busy: Reading::Known(0.5),
            exceptions: Reading::Known(0),
            last_acked: Reading::default(),
        });
    }
    window
}

/// A sentence with the time of one round of decisions, with schedules, and of what is kept before and after.
pub(crate) fn measure() -> String {
    let windows: Vec<_> = (0..COMPONENTS).map(window).collect();
    let learned = Learned { rate_per_replica: Some(20.0), ..Learned::default() };
    let mut memories = vec![Memory::new(learned); windows.len()];
    let (policy, component) = (Policy::default(), Component::default());
    // Chains of five.
    let flows = (0..windows.len()).filter(|from| from % 5 != 4);
    let flows = flows.map(|from| Flow { from, to: from + 1, ratio: Reading::Known(1.0) }).collect();
    let graph = Graph::new(windows.len(), flows);
    let now = Monotonic(Duration::from_secs(640));
    let work = Schedule::parse("0 8 * * MON-FRI", Duration::from_hours(9), "Europe/Berlin");
    let schedules: Vec<_> = work.into_iter().map(|work| work.with_bounds(Some(2), None)).collect();
    let start = Instant::now();
    for (memory, window) in memories.iter_mut().zip(&windows) {
        memory.observe(window, &component, &policy, now);
    }
    let members: Vec<_> = windows
        .iter()
        .zip(&memories)
        .map(|(window, memory)| Member {
            history: History { window, memory },
            policy: policy.at(&schedules, UnixMillis(1_800_000_000_000)),
            component: component.clone(),
            messages_from_outside: Reading::Unknown(Cause::NotAsked),
        })
        .collect();
    let decisions = graph.decide(&members, Some(50_000), now);
    for (memory, decision) in memories.iter_mut().zip(&decisions) {
        memory.record(decision, &policy, now);
    }
    let elapsed = start.elapsed();
    format!("{} decisions of one mesh took {} ms, limit 1000 ms.", decisions.len(), elapsed.as_millis())
}

//! Points and windows for the tests of this crate.

use std::time::Duration;

use function_mesh_observer::{Monotonic, Point, Reading, UnixMillis, Window};

/// A time.
pub(crate) fn at(second: u64) -> Monotonic {
    Monotonic(Duration::from_secs(second))
}

/// A point of a component with one busy pod, that finishes what arrives.
pub(crate) fn point(second: u64, backlog: u64, rate: f64) -> Point {
    Point {
        at: at(second),
        wall: UnixMillis(second * 1000),
        backlog: Reading::Known(backlog),
        ready_backlog: Reading::Known(backlog),
        unacked: Reading::Known(0),
        in_rate: Reading::Known(rate),
        out_rate: Reading::Known(rate),
        ack_rate: Reading::Known(rate),
        redelivery_rate: Reading::Known(0.0),
        lag: Reading::Known(u64::from(backlog > 0)),
        ready: 1,
        processed_rate: Reading::Known(rate),
        busy: Reading::Known((rate / 20.0).min(1.0)),
        exceptions: Reading::Known(0),
        last_acked: Reading::default(),
    }
}

/// Points ten seconds apart, until now.
pub(crate) fn steady(rounds: u64, backlog: u64, rate: f64) -> Window {
    window((1..=rounds).map(|round| point(round * 10, backlog, rate)).collect())
}

/// A window of these points.
pub(crate) fn window(points: Vec<Point>) -> Window {
    let mut window = Window::new(64);
    for point in points {
        window.push(point);
    }
    window
}

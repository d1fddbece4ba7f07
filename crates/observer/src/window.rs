//! A ring of points with a bounded length.

use std::collections::VecDeque;
use std::time::Duration;

use crate::{Cause, Monotonic, Point, Reading};

/// The last points of a component, oldest first.
#[derive(Clone, Debug)]
pub struct Window {
    points: VecDeque<Point>,
    capacity: usize,
}

impl Window {
    /// An empty window of at most this many points.
    pub fn new(capacity: usize) -> Self {
        Self { points: VecDeque::new(), capacity: capacity.max(1) }
    }

    /// Adds a point and drops the oldest one if the window is full. A point that is not later than the last is ignored.
    pub fn push(&mut self, point: Point) {
        if self.points.back().is_some_and(|last| last.at >= point.at) {
            return;
        }
        if self.points.len() >= self.capacity {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The points, oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter()
    }

    /// The last point.
    pub fn last(&self) -> Option<&Point> {
        self.points.back()
    }

    /// The points of the last `age`, newest first.
    fn recent(&self, now: Monotonic, age: Duration) -> impl Iterator<Item = &Point> {
        self.points.iter().rev().take_while(move |point| now.since(point.at) <= age)
    }

    /// The newest known number within this age. Otherwise the newest cause.
    pub fn newest<T>(&self, now: Monotonic, age: Duration, get: impl Fn(&Point) -> Reading<T>) -> Reading<T> {
        let mut result =
            Reading::Unknown(if self.points.is_empty() { Cause::NotAsked } else { Cause::Stale });
        for (number, point) in self.recent(now, age).enumerate() {
            let reading = get(point);
            if reading.is_known() {
                return reading;
            }
            if number == 0 {
                result = reading;
            }
        }
        result
    }

    /// The mean of a rate over this time. Unknown unless it is known in at least half of the points.
    #[allow(clippy::cast_precision_loss, reason = "a window has few points")]
    pub fn mean(&self, now: Monotonic, age: Duration, get: impl Fn(&Point) -> Reading<f64>) -> Reading<f64> {
        let mut newest_cause = None;
        let (mut all, mut known, mut sum) = (0_usize, 0_usize, 0.0);
        for point in self.recent(now, age) {
            all += 1;
            match get(point) {
                Reading::Known(value) => {
                    known += 1;
                    sum += value;
                }
                Reading::Unknown(cause) => newest_cause = newest_cause.or(Some(cause)),
            }
        }
        if known > 0 && known * 2 >= all {
            return Reading::Known(sum / known as f64);
        }
        let without = if self.points.is_empty() { Cause::NotAsked } else { Cause::Stale };
        Reading::Unknown(newest_cause.unwrap_or(without))
    }

    /// The sum of a number that counts events since the last point. Unknown points are left out, and a window without a
    /// known point is unknown.
    pub fn total(&self, now: Monotonic, age: Duration, get: impl Fn(&Point) -> Reading<u64>) -> Reading<u64> {
        let known = self.recent(now, age).map(&get).filter(Reading::is_known);
        let sum = Reading::<u64>::sum(known);
        if sum.is_known() { sum } else { self.newest(now, age, get) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::{Known, Unknown};
    use crate::UnixMillis;

    fn point(second: u64, backlog: Reading<u64>) -> Point {
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let rate = backlog.map(|it| it as f64);
        Point {
            at: Monotonic(Duration::from_secs(second)),
            wall: UnixMillis(second * 1000),
            backlog,
            ready_backlog: backlog,
            unacked: backlog,
            in_rate: rate,
            out_rate: rate,
            ack_rate: rate,
            redelivery_rate: rate,
            lag: backlog,
            ready: 1,
            processed_rate: rate,
            busy: rate,
            exceptions: backlog,
            last_acked: Reading::default(),
        }
    }

    fn window(backlogs: &[Reading<u64>]) -> (Window, Monotonic) {
        let mut window = Window::new(4);
        let mut second = 0;
        for backlog in backlogs {
            second += 10;
            window.push(point(second, *backlog));
        }
        (window, Monotonic(Duration::from_secs(second)))
    }

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_window_of_ten_minutes_takes_sixteen_kibibytes() {
        assert!(64 * size_of::<Point>() <= 16 << 10, "{}", size_of::<Point>());
    }

    #[test]
    fn length_is_bounded_and_order_kept() {
        let (mut window, _) = window(&[Known(1); 9]);
        assert_eq!(window.points().count(), 4);
        window.push(point(3, Known(7)));
        assert_eq!(window.last().unwrap().at, Monotonic(Duration::from_secs(90)));
    }

    #[test]
    fn newest_is_not_older_than_asked() {
        let (window, now) = window(&[Known(4), Unknown(Cause::Incomplete)]);
        assert_eq!(window.newest(now, MINUTE, |point| point.backlog), Known(4));
        assert_eq!(
            window.newest(now, Duration::from_secs(5), |point| point.backlog),
            Unknown(Cause::Incomplete)
        );
        let later = now.after(2 * MINUTE);
        assert_eq!(window.newest(later, MINUTE, |point| point.backlog), Unknown(Cause::Stale));
        assert_eq!(Window::new(0).newest(now, MINUTE, |point| point.backlog), Unknown(Cause::NotAsked));
    }

    #[test]
    fn mean_needs_half_of_the_points() {
        let gap = Unknown(Cause::CounterReset);
        let mean = |backlogs: &[Reading<u64>]| {
            let (window, now) = window(backlogs);
            window.mean(now, MINUTE, |point| point.in_rate)
        };
        assert_eq!(mean(&[Known(2), gap, Known(4)]), Known(3.0));
        assert_eq!(mean(&[gap, gap, Known(4)]), Unknown(Cause::CounterReset));
        assert_eq!(mean(&[]), Unknown(Cause::NotAsked));
    }

    #[test]
    fn total_counts_known_points() {
        let (window, now) = window(&[Known(2), Unknown(Cause::Failed), Known(3)]);
        assert_eq!(window.total(now, MINUTE, |point| point.exceptions), Known(5));
        assert_eq!(window.total(now, Duration::ZERO, |point| point.exceptions), Known(3));
        assert_eq!(
            window.total(now.after(2 * MINUTE), MINUTE, |point| point.exceptions),
            Unknown(Cause::Stale)
        );
    }
}

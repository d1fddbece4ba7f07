//! What is learned about a component, and survives zero replicas and a restart of the operator.
//!
//! The value contains no time, so that it can be kept in a status and read by another process.

use std::time::Duration;

use function_mesh_observer::{Reading, Window};
use serde::{Deserialize, Serialize};

use crate::component::Component;
use crate::load::Load;

/// Start time until one was measured.
pub(crate) const DEFAULT_START: Duration = Duration::from_secs(30);
/// Longest start time that is believed: an image that is pulled once says little.
const MAX_START: Duration = Duration::from_mins(15);
/// Messages that the old rate counts as much as.
const MEMORY_CALLS: f64 = 2_000.0;
/// Messages of a round that make a rate; with fewer of them the whole window counts.
const ENOUGH_CALLS: f64 = 20.0;
/// Share of its time from which a busy pod shows its rate.
const MIN_BUSY: f64 = 0.02;
/// Replica counts of which the rate is kept.
const MAX_POINTS: usize = 8;
/// Messages from which the rate at a number of replicas counts alone.
const POINT_CALLS: f64 = 200.0;
/// Messages of a round that can show that the work of a message changed.
const DRIFT_CALLS: f64 = 100.0;
/// Change of the rate at one replica count after which the rates at others no longer hold.
const DRIFT: f64 = 0.3;
/// Change of the load after which a plateau no longer holds.
const LOAD_CHANGE: f64 = 0.25;

/// How the rate was learned.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum RateSource {
    /// Finished messages by the share of time that the pods were busy.
    #[default]
    Busy,
    /// Finished messages while others waited.
    Saturated,
}

/// The rate of a replica beside others.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct ScalePoint {
    /// Number of replicas.
    pub replicas: u32,
    /// Messages a second of one of them.
    pub rate: f64,
    /// From how many messages, up to a limit.
    #[serde(default)]
    pub calls: f64,
}

/// A number of replicas above which more of them brought nothing.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plateau {
    /// Replicas after the step that brought nothing.
    pub replicas: u32,
    /// Messages a second then.
    pub throughput: f64,
    /// Messages that arrived a second then.
    pub in_rate: f64,
}

impl Plateau {
    /// Whether it still holds: messages wait, as many arrive as then, and no more are finished.
    pub fn holds(&self, load: &Load) -> bool {
        let difference =
            |then: f64, now: Reading<f64>| now.known().map_or(0.0, |now| (now - then) / then.max(1.0));
        let has_changed = difference(self.in_rate, load.in_rate).abs() > LOAD_CHANGE
            || difference(self.throughput, load.throughput) > LOAD_CHANGE;
        // Without data nothing is known to have changed.
        let is_waiting = load.is_backlogged || !load.work.is_known() || !load.newest_throughput.is_known();
        is_waiting && !has_changed
    }
}

/// What is learned about a component.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Learned {
    /// Messages a second that one replica can finish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_replica: Option<f64>,
    /// How that was learned.
    pub source: RateSource,
    /// From how many messages, up to a limit.
    pub calls: f64,
    /// Seconds from a change until its pods are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_seconds: Option<f64>,
    /// The rate of a replica at several numbers of replicas.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<ScalePoint>,
    /// Where more replicas brought nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau: Option<Plateau>,
}

impl Learned {
    /// The rate of a replica, if it is a rate: a stored value can be anything.
    pub fn rate(&self) -> Option<f64> {
        self.rate_per_replica.filter(|rate| rate.is_finite() && *rate > 0.0)
    }

    /// Time from a change until its pods are ready.
    pub fn start_time(&self) -> Duration {
        self.start_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .map_or(DEFAULT_START, |start| start.min(MAX_START))
    }

    /// How much of its rate a replica keeps beside others, by least squares over the points; 1 is linear. None with
    /// fewer than three points.
    pub fn scalability(&self) -> Option<f64> {
        let points =
            || self.points.iter().filter(|it| it.replicas > 0 && it.rate.is_finite() && it.rate > 0.0);
        if points().count() < 3 {
            return None;
        }
        let base = points().min_by_key(|point| point.replicas)?.rate;
        let squares: f64 = points().map(|point| f64::from(point.replicas).powi(2)).sum();
        let products: f64 = points().map(|point| f64::from(point.replicas).powi(2) * point.rate).sum();
        Some((products / (base * squares)).clamp(0.5, 1.0))
    }

    /// The rate of each replica when there are more of them than now.
    pub fn rate_with_more(&self) -> Option<f64> {
        let rate = self.rate()?;
        let base = self.points.iter().min_by_key(|point| point.replicas).map(|point| point.rate);
        let scaled = base.zip(self.scalability()).map(|(base, scalability)| base * scalability);
        Some(scaled.map_or(rate, |scaled| rate.min(scaled)))
    }

    /// Replicas that are enough for a need, where there are `current` ones now. More of them have the rate that follows from
    /// scalability; fewer have the rate that was measured with fewer, between measured points by interpolation.
    pub(crate) fn replicas_for(&self, need: f64, current: u32) -> Option<f64> {
        let rate = self.rate()?;
        let now = need / rate;
        if now > f64::from(current) {
            return self.rate_with_more().map(|rate| need / rate);
        }
        let mut points: Vec<_> = self.points.iter().filter(|it| it.replicas > 0 && it.rate > 0.0).collect();
        points.sort_unstable_by_key(|point| point.replicas);
        // The smallest number within each piece of the curve of capacity by replicas.
        let mut best = now;
        for pair in points.windows(2) {
            let [low, high] = pair else { continue };
            if high.replicas > current {
                break;
            }
            let (from, to) = (f64::from(low.replicas), f64::from(high.replicas));
            let (least, most) = (from * low.rate, to * high.rate);
            if need <= least {
                best = best.min(need / low.rate);
            } else if need <= most {
                best = best.min(from + (need - least) / (most - least) * (to - from));
            }
        }
        Some(best)
    }

    /// Forgets what was learned with more replicas than brought anything, and takes back the rate before.
    pub(crate) fn restore_rate(&mut self, rate: f64, replicas: u32) {
        self.rate_per_replica = Some(rate);
        self.points.retain(|point| point.replicas != replicas);
    }

    /// Takes a measured start time.
    pub(crate) fn learn_start(&mut self, start: Duration) {
        let seconds = start.min(MAX_START).as_secs_f64();
        let before = self.start_seconds.filter(|before| before.is_finite() && *before >= 0.0);
        self.start_seconds = Some(before.map_or(seconds, |before| 0.7 * before + 0.3 * seconds));
    }

    /// Takes the last round. Nothing is learned across a change of the ready pods, or while messages are poisoned.
    pub(crate) fn learn_rate(&mut self, window: &Window, load: &Load, component: &Component) {
        if self.plateau.is_some_and(|plateau| component.ready >= plateau.replicas) {
            // Something else limits the pods, so that their rate is not their own.
            return;
        }
        let Some((sample, source, calls)) = sample(window, load, component) else { return };
        if !(sample.is_finite() && sample > 0.0 && calls.is_finite() && calls > 0.0) {
            return;
        }
        let mean = |before: f64, of: f64| {
            let of = if of.is_finite() { of.clamp(0.0, MEMORY_CALLS) } else { 0.0 };
            before + calls / (of + calls) * (sample - before)
        };
        let rate = self.rate().map_or(sample, |before| mean(before, self.calls));
        self.calls = (self.calls.max(0.0) + calls).min(MEMORY_CALLS);
        self.source = source;
        let replicas = component.ready;
        let known = self.points.iter_mut().find(|point| point.replicas == replicas);
        let is_drift = known.is_some_and(|point| {
            let is_other = (point.rate - sample).abs() > DRIFT * point.rate.abs();
            let is_drift = is_other && calls >= DRIFT_CALLS && point.calls >= POINT_CALLS;
            point.rate = if is_drift { sample } else { mean(point.rate, point.calls) };
            point.calls = if is_drift { calls } else { (point.calls.max(0.0) + calls).min(MEMORY_CALLS) };
            is_drift
        });
        if is_drift {
            // The work of a message changed, so that rates with other numbers of replicas no longer hold.
            self.points.retain(|point| point.replicas == replicas);
        } else if self.points.iter().all(|point| point.replicas != replicas) {
            self.points.push(ScalePoint { replicas, rate: sample, calls });
            if self.points.len() > MAX_POINTS {
                self.points.remove(0);
            }
        }
        // With enough messages, the rate beside as many others as now counts alone.
        let own = self.points.iter().find(|point| point.replicas == replicas && point.calls >= POINT_CALLS);
        self.rate_per_replica = Some(own.map_or(rate, |point| point.rate));
    }
}

/// A rate, how it was measured, and from how many messages.
fn sample(window: &Window, load: &Load, component: &Component) -> Option<(f64, RateSource, f64)> {
    if load.is_poisoned {
        return None;
    }
    let mut newest = window.points().rev();
    let (last, before) = (newest.next()?, newest.next()?);
    let ready = last.ready;
    if ready == 0 || before.ready != ready || component.ready != ready {
        return None;
    }
    let replicas = f64::from(ready);
    if component.is_synchronous {
        let elapsed = last.at.since(before.at).as_secs_f64();
        let (processed, busy) = last.processed_rate.zip(last.busy).known()?;
        let calls = processed * elapsed;
        if calls >= ENOUGH_CALLS {
            // More than all of its time: it is not synchronous after all.
            return if busy <= 1.05 {
                (busy >= MIN_BUSY).then(|| (processed / replicas / busy, RateSource::Busy, calls))
            } else {
                saturated(load, replicas, processed, calls)
            };
        }
        return of_window(window, ready);
    }
    let elapsed = last.at.since(before.at).as_secs_f64();
    let throughput = last.processed_rate.or(load.throughput).known()?;
    saturated(load, replicas, throughput, throughput * elapsed)
}

fn saturated(load: &Load, replicas: f64, throughput: f64, calls: f64) -> Option<(f64, RateSource, f64)> {
    load.is_saturated.is_known_and(|is| is).then(|| (throughput / replicas, RateSource::Saturated, calls))
}

/// Slow functions finish few messages in a round, and a call ends long after it took the pod's time.
fn of_window(window: &Window, ready: u32) -> Option<(f64, RateSource, f64)> {
    let (mut processed, mut busy, mut calls) = (0.0, 0.0, 0.0);
    let points: Vec<_> = window.points().collect();
    for pair in points.windows(2) {
        let [before, point] = pair else { continue };
        if point.ready != ready || before.ready != ready {
            return None;
        }
        let elapsed = point.at.since(before.at).as_secs_f64();
        if let Some((rate, share)) = point.processed_rate.zip(point.busy).known() {
            processed += rate * elapsed;
            busy += share * elapsed;
            calls += rate * elapsed;
        }
    }
    // The same messages are counted in each round while they are in the window, which gives them little weight each time.
    let weight = calls / 32.0;
    (calls >= 3.0 && busy > 0.0).then(|| (processed / busy / f64::from(ready), RateSource::Busy, weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, point, window};
    use function_mesh_observer::Reading::Known;

    fn learn(
        rounds: usize,
        edit: impl Fn(&mut function_mesh_observer::Point),
        component: &Component,
    ) -> Learned {
        let mut learned = Learned::default();
        let mut points = Vec::new();
        for round in 1..=rounds {
            let mut next = point(round as u64 * 10, 0, 10.0);
            edit(&mut next);
            points.push(next);
            let window = window(points.clone());
            let load = Load::measure(&window, component, Duration::from_mins(1), at(round as u64 * 10));
            learned.learn_rate(&window, &load, component);
        }
        learned
    }

    #[test]
    fn busy_share_gives_the_rate_far_below_saturation() {
        let learned = learn(3, |_| {}, &Component::default());
        assert!((learned.rate().unwrap() - 20.0).abs() < 1e-6);
        assert_eq!(learned.source, RateSource::Busy);
    }

    #[test]
    fn asynchronous_pods_show_their_rate_only_while_messages_wait() {
        let component = Component { is_synchronous: false, ..Component::default() };
        assert_eq!(learn(5, |_| {}, &component).rate(), None);
        let learned = learn(5, |point| point.ready_backlog = Known(900), &component);
        assert!((learned.rate().unwrap() - 10.0).abs() < 1e-6);
        assert_eq!(learned.source, RateSource::Saturated);
    }

    #[test]
    fn slow_calls_count_over_the_window() {
        let slow = |point: &mut function_mesh_observer::Point| {
            let ends = point.at.0.as_secs().is_multiple_of(60);
            point.processed_rate = Known(if ends { 0.1 } else { 0.0 });
            point.busy = Known(if ends { 6.0 } else { 0.0 });
        };
        let learned = learn(40, slow, &Component::default());
        assert!((learned.rate().unwrap() - 1.0 / 60.0).abs() < 1e-4, "{learned:?}");
    }

    #[test]
    fn scalability_needs_three_points_and_stays_within_limits() {
        let of = |rates: &[(u32, f64)]| {
            let points = rates.iter().map(|(replicas, rate)| ScalePoint {
                replicas: *replicas,
                rate: *rate,
                calls: 500.0,
            });
            Learned { rate_per_replica: Some(20.0), points: points.collect(), ..Learned::default() }
        };
        assert_eq!(of(&[(1, 20.0), (2, 18.0)]).scalability(), None);
        let linear = of(&[(1, 20.0), (2, 20.0), (4, 20.0)]);
        assert!((linear.scalability().unwrap() - 1.0).abs() < 1e-9);
        let bad = of(&[(1, 20.0), (2, 9.0), (4, 3.0)]);
        assert!((bad.scalability().unwrap() - 0.5).abs() < 1e-9);
        assert!((bad.rate_with_more().unwrap() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn learned_values_survive_as_text_and_nonsense_is_no_rate() {
        let learned = learn(3, |_| {}, &Component::default());
        let text = serde_json::to_string(&learned).unwrap();
        assert_eq!(serde_json::from_str::<Learned>(&text).unwrap(), learned);
        assert_eq!(serde_json::from_str::<Learned>("{}").unwrap(), Learned::default());
        let negative: Learned =
            serde_json::from_str(r#"{"ratePerReplica": -1, "startSeconds": -5}"#).unwrap();
        assert_eq!((negative.rate(), negative.start_time()), (None, DEFAULT_START));
    }
}

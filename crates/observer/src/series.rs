//! The last sample of one subscription on one topic or partition, and of one pod.

use std::time::Duration;

use crate::counter::{delta, process_delta, rate};
use crate::run::{Run, has_progress};
use crate::stats::{PodStats, SubscriptionStats};
use crate::{Cause, Monotonic, Reading};

/// A subscription on a topic or partition.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// When it last reported.
    pub(crate) at: Monotonic,
    pub(crate) in_counter: Reading<u64>,
    /// The last statistics, without details of consumers.
    pub(crate) stats: SubscriptionStats,
    /// When an acknowledgement was last seen.
    pub(crate) progress_at: Option<Monotonic>,
    /// The current run, if messages wait; unknown if the broker does not report enough.
    pub(crate) run: Reading<Option<Run>>,
    /// The topic of the component that it belongs to.
    pub(crate) topic: String,
}

/// What changed since the sample before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) incoming: Reading<f64>,
    pub(crate) outgoing: Reading<f64>,
}

impl Series {
    pub(crate) fn new(
        topic: &str,
        at: Monotonic,
        in_counter: Reading<u64>,
        stats: &SubscriptionStats,
        exceptions: u64,
    ) -> Self {
        let run = stats.ready_backlog().map(|backlog| (backlog > 0).then(|| Run::new(at, exceptions, stats)));
        let stats = without_details(stats);
        Self { at, in_counter, stats, progress_at: None, run, topic: topic.to_owned() }
    }

    /// Takes another sample.
    pub(crate) fn observe(
        &mut self,
        at: Monotonic,
        in_counter: Reading<u64>,
        stats: &SubscriptionStats,
        exceptions: u64,
        max_gap: Duration,
    ) -> Rates {
        let elapsed = at.since(self.at);
        let rates = Rates {
            incoming: rate(delta(self.in_counter, in_counter), elapsed, max_gap),
            outgoing: rate(delta(self.stats.out_counter, stats.out_counter), elapsed, max_gap),
        };
        let progress = has_progress(&self.stats, stats);
        if progress == Reading::Known(true) {
            self.progress_at = Some(at);
        }
        let before = std::mem::take(&mut self.run);
        self.run = stats.ready_backlog().zip(progress).map(|(backlog, has_progress)| {
            if backlog == 0 {
                return None;
            }
            match before.known().flatten() {
                // Nothing is known about a gap, and a component gets the full time after it.
                Some(mut run) if !has_progress && elapsed <= max_gap => {
                    run.extend(at, &self.stats, stats);
                    Some(run)
                }
                _ => Some(Run::new(at, exceptions, stats)),
            }
        });
        self.at = at;
        self.in_counter = in_counter;
        self.stats = without_details(stats);
        rates
    }
}

fn without_details(stats: &SubscriptionStats) -> SubscriptionStats {
    SubscriptionStats { consumer_details: Vec::new(), ..stats.clone() }
}

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct PodSeries {
    pub(crate) at: Monotonic,
    pub(crate) stats: PodStats,
    /// The step to this sample.
    step: PodStep,
}

/// What a pod did since the sample before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodStep {
    pub(crate) exceptions: Reading<u64>,
    pub(crate) processed: Reading<f64>,
    pub(crate) busy: Reading<f64>,
    /// Mean duration of the calls that ended.
    pub(crate) call: Reading<Duration>,
}

impl PodStep {
    pub(crate) const fn unknown(cause: Cause) -> Self {
        Self {
            exceptions: Reading::Unknown(cause),
            processed: Reading::Unknown(cause),
            busy: Reading::Unknown(cause),
            call: Reading::Unknown(cause),
        }
    }
}

impl PodSeries {
    /// The first sample.
    pub(crate) fn new(at: Monotonic, stats: PodStats) -> Self {
        Self { at, stats, step: PodStep::unknown(Cause::TooFewSamples) }
    }

    /// Takes another sample. The same one again has the same rates, and nothing new.
    pub(crate) fn observe(&mut self, at: Monotonic, stats: &PodStats, max_gap: Duration) -> PodStep {
        if at > self.at {
            self.step = self.next_step(at, stats, max_gap);
            return self.step;
        }
        let exceptions = self.step.exceptions.map(|_| 0);
        PodStep { exceptions, call: Reading::Unknown(Cause::TooFewSamples), ..self.step }
    }

    #[allow(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    fn next_step(&mut self, at: Monotonic, stats: &PodStats, max_gap: Duration) -> PodStep {
        let before = std::mem::replace(&mut self.stats, stats.clone());
        let elapsed = at.since(std::mem::replace(&mut self.at, at));
        let calls = process_delta(before.latency_count, stats.latency_count);
        let milliseconds = stats
            .latency_sum
            .zip(before.latency_sum)
            .map(|(now, before)| if now >= before { now - before } else { now });
        let seconds = elapsed.as_secs_f64();
        let is_gap = elapsed > max_gap || elapsed.is_zero();
        PodStep {
            exceptions: process_delta(before.exceptions, stats.exceptions),
            processed: rate(process_delta(before.processed, stats.processed), elapsed, max_gap),
            busy: if is_gap {
                Reading::Unknown(Cause::Stale)
            } else {
                milliseconds.map(|sum| sum / 1000.0 / seconds)
            },
            call: milliseconds.zip(calls).and_then(|(sum, calls)| match calls {
                0 => Reading::Unknown(Cause::TooFewSamples),
                calls => duration(sum / calls as f64).into(),
            }),
        }
    }
}

/// A duration of milliseconds; None for one that is no duration.
pub(crate) fn duration(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading::Known;

    const GAP: Duration = Duration::from_mins(1);

    fn at(second: u64) -> Monotonic {
        Monotonic(Duration::from_secs(second))
    }

    fn stats(backlog: u64, out: u64, acked: u64) -> SubscriptionStats {
        SubscriptionStats {
            backlog_no_delayed: Known(backlog),
            out_counter: Known(out),
            last_acked: Known(acked),
            ..Default::default()
        }
    }

    fn since(series: &Series) -> Option<Monotonic> {
        series.run.clone().known().flatten().map(|run| run.since)
    }

    #[test]
    fn runs_end_with_an_acknowledgement_or_an_empty_backlog() {
        let mut series = Series::new("t", at(0), Known(0), &stats(1, 0, 0), 0);
        series.observe(at(10), Known(1), &stats(2, 1, 0), 0, GAP);
        assert_eq!(since(&series), Some(at(0)));
        assert_eq!(series.run.clone().known().flatten().unwrap().consumed_at, Some(at(10)));
        series.observe(at(20), Known(1), &stats(2, 2, 9), 0, GAP);
        assert_eq!((since(&series), series.progress_at), (Some(at(20)), Some(at(20))));
        series.observe(at(30), Known(1), &stats(0, 2, 9), 0, GAP);
        assert_eq!(since(&series), None);
    }

    #[test]
    fn runs_begin_again_after_a_gap_but_not_after_a_reset() {
        let mut series = Series::new("t", at(0), Known(0), &stats(1, 5, 8), 0);
        let rates = series.observe(at(10), Known(0), &stats(1, 0, 0), 0, GAP);
        assert_eq!(rates.outgoing, Reading::Unknown(Cause::CounterReset));
        assert_eq!(since(&series), Some(at(0)));
        series.observe(at(80), Known(0), &stats(1, 0, 0), 0, GAP);
        assert_eq!(since(&series), Some(at(80)));
    }

    #[test]
    fn a_pod_that_restarts_counts_from_zero() {
        let stats = |exceptions, sum, count| PodStats {
            exceptions: Known(exceptions),
            latency_sum: Known(sum),
            latency_count: Known(count),
            ..Default::default()
        };
        let mut pod = PodSeries::new(at(0), stats(5, 1000.0, 10));
        let step = pod.observe(at(10), &stats(7, 6000.0, 12), GAP);
        assert_eq!((step.exceptions, step.busy), (Known(2), Known(0.5)));
        assert_eq!(step.call, Known(Duration::from_millis(2500)));
        let again = pod.observe(at(10), &stats(7, 6000.0, 12), GAP);
        assert_eq!((again.exceptions, again.busy), (Known(0), Known(0.5)));
        let step = pod.observe(at(20), &stats(1, 100.0, 1), GAP);
        assert_eq!((step.exceptions, step.call), (Known(1), Known(Duration::from_millis(100))));
        let step = pod.observe(at(30), &stats(1, 100.0, 1), GAP);
        assert!(!step.call.is_known());
    }
}

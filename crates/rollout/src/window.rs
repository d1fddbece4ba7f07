//! What pods did since a step of a canary began, from counters that begin at zero with each process.

use std::collections::BTreeMap;

use crate::analysis::Figures;

/// Counters of a pod since its process started; None for one that is not reported.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Messages received.
    pub received: Option<u64>,
    /// Messages processed.
    pub processed: Option<u64>,
    /// Exceptions.
    pub exceptions: Option<u64>,
    /// Milliseconds of all calls.
    pub latency_ms: Option<u64>,
    /// Calls.
    pub calls: Option<u64>,
}

/// A pod as it is observed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sample {
    /// UID.
    pub uid: String,
    /// Whether it has the new version.
    pub is_canary: bool,
    /// Restarts of its containers since it was created.
    pub restarts: u32,
    /// Its counters; None if they are unknown or too old.
    pub counters: Option<Counters>,
}

impl Counters {
    /// Whether everything is reported without which nothing is judged.
    fn is_complete(&self) -> bool {
        self.received.is_some() && self.processed.is_some() && self.exceptions.is_some()
    }

    fn figures(&self) -> Figures {
        Figures {
            pods: 1,
            known: 1,
            received: self.received.unwrap_or_default(),
            processed: self.processed.unwrap_or_default(),
            exceptions: self.exceptions.unwrap_or_default(),
            restarts: 0,
            latency_ms: self.latency_ms,
            calls: self.calls,
        }
    }

    /// How far each counter advanced. If messages or exceptions fell, the process restarted and counted from zero. If it
    /// restarted and none fell, what is between the two is unknown, and nothing counts.
    fn since(&self, before: &Self, has_restarted: bool) -> Self {
        let fell =
            |before: Option<u64>, now: Option<u64>| before.zip(now).is_some_and(|(before, now)| now < before);
        if fell(before.received, self.received) || fell(before.exceptions, self.exceptions) {
            return *self;
        }
        let before = if has_restarted { self } else { before };
        let delta = |before: Option<u64>, now: Option<u64>| Some(now?.saturating_sub(before?));
        Self {
            received: delta(before.received, self.received),
            processed: delta(before.processed, self.processed),
            exceptions: delta(before.exceptions, self.exceptions),
            latency_ms: delta(before.latency_ms, self.latency_ms),
            calls: delta(before.calls, self.calls),
        }
    }
}

#[derive(Clone, Debug)]
struct Counted {
    last: Counters,
    /// What it did since the step began.
    sum: Figures,
    is_known: bool,
    is_canary: bool,
    restarts: u32,
    /// Restarts before the last counters.
    restarts_before: u32,
}

/// What the pods of a component did since a step began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    pods: BTreeMap<String, Counted>,
}

impl Window {
    /// Takes the pods that exist. Pods of the new version count from their start, others from their first sample.
    pub(crate) fn observe(&mut self, samples: &[Sample]) {
        self.pods.retain(|uid, _| samples.iter().any(|sample| sample.uid == *uid));
        for sample in samples {
            let counters = sample.counters.filter(Counters::is_complete);
            let zero = Counters {
                received: Some(0),
                processed: Some(0),
                exceptions: Some(0),
                latency_ms: Some(0),
                calls: Some(0),
            };
            let known = self.pods.entry(sample.uid.clone());
            let pod = known.or_insert_with(|| Counted {
                last: if sample.is_canary { zero } else { counters.unwrap_or_default() },
                sum: Figures { pods: 1, ..Figures::default() },
                is_known: false,
                is_canary: sample.is_canary,
                restarts: 0,
                restarts_before: sample.restarts,
            });
            (pod.is_canary, pod.restarts) = (sample.is_canary, sample.restarts);
            pod.is_known = counters.is_some();
            let Some(counters) = counters else { continue };
            let has_restarted =
                std::mem::replace(&mut pod.restarts_before, sample.restarts) != sample.restarts;
            // A pod of the version before whose first sample was missing begins now.
            let last = if pod.last.is_complete() { pod.last } else { counters };
            let step = Figures { pods: 0, ..counters.since(&last, has_restarted).figures() };
            pod.last = counters;
            pod.sum.add(&step);
        }
    }

    /// Begins another step.
    pub(crate) fn begin(&mut self) {
        for pod in self.pods.values_mut() {
            pod.sum = Figures { pods: 1, ..Figures::default() };
        }
    }

    /// The pods of the new version, and the others, if there are some.
    pub(crate) fn figures(&self) -> (Figures, Option<Figures>) {
        let of = |is_canary: bool| {
            let (mut total, mut known) = (Figures::default(), 0);
            for pod in self.pods.values().filter(|pod| pod.is_canary == is_canary) {
                total.add(&Figures { restarts: if is_canary { pod.restarts } else { 0 }, ..pod.sum });
                known += u32::from(pod.is_known);
            }
            // What a pod did counts, whether or not it answers now.
            Figures { known, ..total }
        };
        let others = of(false);
        (of(true), (others.pods > 0).then_some(others))
    }
}

/// The sum of what pods did since they started.
pub fn total(samples: &[Counters]) -> Option<Figures> {
    let mut total = Figures::default();
    for counters in samples.iter().filter(|it| it.is_complete()) {
        total.add(&counters.figures());
    }
    (total.known > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(received: u64, exceptions: u64) -> Counters {
        Counters {
            received: Some(received),
            processed: Some(received - exceptions),
            exceptions: Some(exceptions),
            latency_ms: Some(received * 10),
            calls: Some(received),
        }
    }

    fn sample(uid: &str, is_canary: bool, counters: Option<Counters>) -> Sample {
        Sample { uid: uid.to_owned(), is_canary, restarts: 0, counters }
    }

    #[test]
    fn new_pods_count_from_their_start_and_others_from_their_first_sample() {
        let mut window = Window::default();
        let both = |new: u64, old: u64| {
            [sample("n", true, Some(counters(new, 1))), sample("o", false, Some(counters(old, 7)))]
        };
        window.observe(&both(10, 1000));
        let (canary, others) = window.figures();
        assert_eq!((canary.received, canary.exceptions, canary.known), (10, 1, 1));
        assert_eq!(others.map(|it| (it.received, it.exceptions, it.known)), Some((0, 0, 1)));
        window.observe(&both(30, 1050));
        let (canary, others) = window.figures();
        assert_eq!((canary.received, canary.latency_ms, canary.calls), (30, Some(300), Some(30)));
        assert_eq!(others.map(|it| it.received), Some(50));
        window.begin();
        window.observe(&both(35, 1051));
        assert_eq!((window.figures().0.received, window.figures().1.map(|it| it.received)), (5, Some(1)));
    }

    #[test]
    fn a_process_that_restarts_counts_from_zero_and_loses_nothing() {
        let mut window = Window::default();
        for received in [10, 20, 5, 8] {
            window.observe(&[sample("n", true, Some(counters(received, 0)))]);
        }
        assert_eq!(window.figures().0.received, 28);
        // A pod that does not answer is unknown, and what it did counts.
        window.observe(&[sample("n", true, None)]);
        let (canary, others) = window.figures();
        assert_eq!((canary.pods, canary.known, canary.received, others), (1, 0, 28, None));
        // Another pod of the same ordinal has another UID.
        window.observe(&[sample("m", true, Some(counters(1, 0)))]);
        assert_eq!(window.figures().0.received, 1);
    }

    #[test]
    fn an_incomplete_sample_is_unknown() {
        let mut window = Window::default();
        let partial = Counters { exceptions: None, ..counters(10, 0) };
        window.observe(&[sample("n", true, Some(partial)), sample("o", false, Some(partial))]);
        let (canary, others) = window.figures();
        assert_eq!((canary.pods, canary.known, canary.received), (1, 0, 0));
        // The first complete sample of an old pod is its beginning.
        window.observe(&[sample("o", false, Some(counters(500, 3)))]);
        assert_eq!(window.figures().1.map(|it| (it.known, it.received)), Some((1, 0)));
        assert_eq!(others.map(|it| it.known), Some(0));
        assert_eq!(total(&[partial]), None);
        assert_eq!(total(&[partial, counters(5, 1)]).map(|it| it.received), Some(5));
    }
}

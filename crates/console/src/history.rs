//! Samples of the last hour of each component, in a ring that does not grow. Pure.
//!
//! They are what the status reported at the time, and begin with the program.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;
use serde_json::Value;

use crate::store::{Key, Store};

/// Samples of a component: those of an hour, with one every 30 seconds.
const KEPT: usize = 120;
/// Components with samples. With all of them the samples take 6 MiB.
const MOST_COMPONENTS: usize = 2000;

/// Numbers at a time; NaN is unknown.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Seconds since 1970.
    time: u32,
    numbers: [f32; NUMBERS.len()],
}

/// Where the status has the numbers.
const NUMBERS: [&str; 6] = [
    "/status/traffic/inRate",
    "/status/traffic/outRate",
    "/status/traffic/backlog",
    "/status/traffic/lagSeconds",
    "/status/readyReplicas",
    "/status/replicas",
];

/// The samples of a component as the page reads them: a list for each number, in the order of the times.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Seconds since 1970.
    pub times: Vec<u32>,
    /// Messages published to the input topics, per second.
    pub in_rate: Vec<Option<f32>>,
    /// Messages processed, per second.
    pub out_rate: Vec<Option<f32>>,
    /// Entries that wait.
    pub backlog: Vec<Option<f32>>,
    /// Age of the oldest one, in seconds.
    pub lag_seconds: Vec<Option<f32>>,
    /// Ready pods.
    pub ready: Vec<Option<f32>>,
    /// Wanted pods.
    pub wanted: Vec<Option<f32>>,
}

/// The samples of all components.
#[derive(Debug, Default)]
pub struct History(HashMap<Key, VecDeque<Sample>>);

impl History {
    /// Takes a sample of each component, and forgets those that are gone.
    pub fn record(&mut self, store: &Store, time: u32) {
        self.0.retain(|(namespace, kind, name), _| store.object(namespace, kind, name).is_some());
        for (key, object) in store.objects().filter(|(key, _)| key.1 != "FunctionMesh") {
            let is_full = self.0.len() >= MOST_COMPONENTS;
            let samples = match self.0.get_mut(key) {
                Some(samples) => samples,
                None if is_full => continue,
                None => self.0.entry(key.clone()).or_default(),
            };
            if samples.len() >= KEPT {
                samples.pop_front();
            }
            samples.push_back(Sample::of(object, time));
        }
    }

    /// The samples of a component; without any if there is none.
    pub fn series(&self, namespace: &str, kind: &'static str, name: &str) -> Series {
        let key = (namespace.to_owned(), kind, name.to_owned());
        let samples = self.0.get(&key);
        let samples = || samples.into_iter().flatten();
        let known = |place: usize| {
            let number = move |sample: &Sample| sample.numbers.get(place).copied();
            samples().map(|it| number(it).filter(|it| !it.is_nan())).collect()
        };
        Series {
            times: samples().map(|sample| sample.time).collect(),
            in_rate: known(0),
            out_rate: known(1),
            backlog: known(2),
            lag_seconds: known(3),
            ready: known(4),
            wanted: known(5),
        }
    }
}

impl Sample {
    #[allow(clippy::cast_possible_truncation, reason = "charts need no more digits")]
    fn of(object: &Value, time: u32) -> Self {
        let number =
            |pointer| object.pointer(pointer).and_then(Value::as_f64).map_or(f32::NAN, |it| it as f32);
        Self { time, numbers: NUMBERS.map(number) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Change;

    fn change(name: &str, status: &Value) -> Change {
        let metadata = json!({ "namespace": "shop", "name": name });
        Change::Apply("Function".into(), Box::new(json!({ "metadata": metadata, "status": status })))
    }

    #[test]
    fn the_last_hour_is_kept_and_unknown_is_null() {
        let (mut store, mut history) = (Store::default(), History::default());
        store.apply(change("f", &json!({ "replicas": 2 })));
        history.record(&store, 30);
        store.apply(change(
            "f",
            &json!({ "replicas": 2, "readyReplicas": 0, "traffic": { "backlog": 1300, "inRate": 2.5 } }),
        ));
        history.record(&store, 60);
        let series = history.series("shop", "Function", "f");
        assert_eq!((series.times, series.backlog), (vec![30, 60], vec![None, Some(1300.0)]));
        assert_eq!((series.in_rate, series.lag_seconds), (vec![None, Some(2.5)], vec![None, None]));
        assert_eq!((series.ready, series.wanted), (vec![None, Some(0.0)], vec![Some(2.0), Some(2.0)]));

        for n in 0..1000 {
            history.record(&store, n);
        }
        let times = history.series("shop", "Function", "f").times;
        assert_eq!((times.len(), times.first(), times.last()), (KEPT, Some(&880), Some(&999)));
        assert_eq!(history.series("shop", "Sink", "f"), Series::default());
        store.apply(Change::Delete(
            "Function".into(),
            Box::new(json!({ "metadata": { "namespace": "shop", "name": "f" } })),
        ));
        history.record(&store, 1000);
        assert_eq!(history.series("shop", "Function", "f"), Series::default());
    }

    #[test]
    fn memory_is_bounded() {
        let (mut store, mut history) = (Store::default(), History::default());
        for n in 0..MOST_COMPONENTS + 10 {
            store.apply(change(&format!("f{n}"), &json!({})));
        }
        history.record(&store, 1);
        history.record(&store, 2);
        assert_eq!(history.0.len(), MOST_COMPONENTS);
        assert!(MOST_COMPONENTS * KEPT * size_of::<Sample>() < 8 << 20);
    }
}

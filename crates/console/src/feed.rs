//! The events of one page: a snapshot, then numbered deltas, of which the last ones are kept for viewers that return.
//!
//! A viewer is only a number: that of the last event it got. It asks for what comes next when it can take more, so a slow
//! one has no queue that grows. If the deltas since its number are no longer kept, it gets a snapshot.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use crate::state::State;

/// Deltas that are kept.
const KEPT: usize = 64;
/// Their size together, in bytes; the newest is kept in any case.
const KEPT_BYTES: usize = 512 << 10;

/// An event in the format of server-sent events.
pub type Event = Arc<str>;

/// The events of one page.
#[derive(Debug)]
pub struct Feed {
    /// Distinguishes the numbers of this feed from those of an earlier one.
    epoch: String,
    number: u64,
    state: State,
    snapshot: Option<Event>,
    /// The newest deltas, of consecutive numbers, up to `number`.
    deltas: VecDeque<Event>,
    bytes: usize,
}

impl Feed {
    /// A feed that begins with this state. No two feeds of a page have the same epoch.
    pub fn new(epoch: impl Into<String>, state: State) -> Self {
        let epoch = epoch.into();
        Self { epoch, number: 1, state, snapshot: None, deltas: VecDeque::new(), bytes: 0 }
    }

    /// The state that was published last.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The number of the last event.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Publishes a state. False if it equals the last one: then there is no event.
    pub fn publish(&mut self, state: State) -> bool {
        let Some(delta) = self.state.delta_to(&state) else { return false };
        self.state = state;
        self.number += 1;
        self.snapshot = None;
        // Values of JSON can always be written.
        let data = serde_json::to_string(&delta).unwrap_or_default();
        let event = event(&self.epoch, self.number, "delta", &data);
        self.bytes += event.len();
        self.deltas.push_back(event);
        while self.deltas.len() > KEPT || (self.bytes > KEPT_BYTES && self.deltas.len() > 1) {
            self.bytes -= self.deltas.pop_front().map_or(0, |dropped| dropped.len());
        }
        true
    }

    /// The number of the event with this ID, if it is one of this feed.
    pub fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.rsplit_once('-')?;
        let number = number.parse().ok()?;
        (epoch == self.epoch && number <= self.number).then_some(number)
    }

    /// The events after this number, or a snapshot if it is None or too old. Empty if there is nothing new.
    pub fn since(&mut self, seen: Option<u64>) -> Vec<Event> {
        let kept = u64::try_from(self.deltas.len()).unwrap_or(u64::MAX);
        match seen.and_then(|seen| self.number.checked_sub(seen)) {
            Some(missing) if missing <= kept => {
                let skipped = usize::try_from(kept - missing).unwrap_or(usize::MAX);
                self.deltas.iter().skip(skipped).cloned().collect()
            }
            _ => vec![self.snapshot()],
        }
    }

    fn snapshot(&mut self) -> Event {
        if let Some(snapshot) = &self.snapshot {
            return Arc::clone(snapshot);
        }
        let data = serde_json::to_string(&self.state).unwrap_or_default();
        let snapshot = event(&self.epoch, self.number, "snapshot", &data);
        self.snapshot = Some(Arc::clone(&snapshot));
        snapshot
    }
}

/// JSON has no line break, so that the data are one line.
fn event(epoch: &str, number: u64, name: &str, data: &str) -> Event {
    let mut text = String::with_capacity(data.len() + 64);
    let _ = write!(text, "id: {epoch}-{number}\nevent: {name}\ndata: {data}\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn state(n: usize) -> State {
        State { head: json!({ "n": n }), items: [("a".to_owned(), json!({ "text": "\n\r" }))].into() }
    }

    /// The event's number, its name, and its data.
    fn read(event: &str) -> (u64, &str, serde_json::Value) {
        let lines: Vec<_> = event.lines().collect();
        let [id, name, data, ""] = lines.as_slice() else { panic!("{event:?}") };
        let number = id.strip_prefix("id: e-").unwrap().parse().unwrap();
        let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (number, name.strip_prefix("event: ").unwrap(), data)
    }

    proptest! {
        /// No matter what a viewer missed and when it asks, it ends at the published state.
        #[test]
        fn viewers_arrive_at_the_state(steps in proptest::collection::vec((0..5_usize, any::<bool>()), 1..200)) {
            let mut feed = Feed::new("e", state(0));
            let (mut seen, mut shown) = (None, State::default());
            for (n, asks) in steps {
                feed.publish(state(n));
                if !asks {
                    continue;
                }
                for event in feed.since(seen) {
                    let (number, name, data) = read(&event);
                    if name == "snapshot" {
                        shown = serde_json::from_value(data).unwrap();
                    } else {
                        prop_assert_eq!(Some(number), seen.map(|seen| seen + 1));
                        shown.apply(serde_json::from_value(data).unwrap());
                    }
                    seen = Some(number);
                }
                prop_assert_eq!(seen, Some(feed.number()));
                prop_assert_eq!(&shown, feed.state());
            }
        }
    }

    #[test]
    fn a_viewer_far_behind_gets_a_snapshot_and_no_queue() {
        let mut feed = Feed::new("e", state(0));
        for n in 1..=1000 {
            assert!(feed.publish(state(n)));
        }
        assert_eq!(feed.deltas.len(), KEPT);
        let behind = feed.number() - u64::try_from(KEPT).unwrap();
        assert_eq!(feed.since(Some(behind)).len(), KEPT);
        let late = feed.since(Some(behind - 1));
        assert_eq!((late.len(), read(&late[0]).1), (1, "snapshot"));
        assert!(feed.since(Some(feed.number())).is_empty());
    }

    #[test]
    fn large_deltas_are_bounded_by_bytes() {
        let mut feed = Feed::new("e", state(0));
        for n in 0..50 {
            feed.publish(State { head: json!(format!("{n}{}", "x".repeat(100 << 10))), ..State::default() });
        }
        assert!(feed.bytes <= KEPT_BYTES && feed.deltas.len() >= 4, "{} {}", feed.bytes, feed.deltas.len());
        assert_eq!(feed.bytes, feed.deltas.iter().map(|event| event.len()).sum::<usize>());
    }

    #[test]
    fn ids_of_another_feed_are_unknown() {
        let mut feed = Feed::new("e-1", state(0));
        feed.publish(state(1));
        assert_eq!(feed.number_of("e-1-2"), Some(2));
        for id in ["", "e-1-3", "e-2-1", "2", "e-1-", "e-1--1", "e-1-18446744073709551616"] {
            assert_eq!(feed.number_of(id), None, "{id}");
        }
    }

    #[test]
    fn an_equal_state_is_no_event() {
        let mut feed = Feed::new("e", state(0));
        assert!(!feed.publish(state(0)));
        assert_eq!(feed.number(), 1);
    }
}

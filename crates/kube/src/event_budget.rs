//! Rate limit and aggregation of Events. Pure: the time is an argument.
//!
//! A token bucket per object, as in client-go's spam filter: a burst of 25 Events, then one in five minutes, so that a
//! tenant that alternates two invalid specs causes few writes. Memory is bounded: the least recently used object is
//! evicted, and each object has few series.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Events of one object in a burst.
const BURST: u32 = 25;
/// Time until an object may publish one more Event.
const REFILL_INTERVAL: Duration = Duration::from_mins(5);
/// Objects whose budget is tracked.
const MAX_OBJECTS: usize = 4096;
/// Series that are tracked of one object.
const MAX_SERIES: usize = 8;
/// How long after the last Event an equal one belongs to its series.
const SERIES_WINDOW: Duration = Duration::from_mins(6);

/// An Event that may be published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Published {
    /// The name of the Event.
    pub(crate) name: String,
    /// The count of its series, this Event included.
    pub(crate) count: i32,
}

/// The budgets of all objects.
#[derive(Debug, Default)]
pub(crate) struct EventBudget {
    objects: HashMap<String, Object>,
    /// Objects in the order of their last use.
    by_use: BTreeMap<u64, String>,
    uses: u64,
}

#[derive(Debug)]
struct Object {
    used: u64,
    tokens: u32,
    refilled: Instant,
    series: VecDeque<Series>,
}

#[derive(Debug)]
struct Series {
    hash: u64,
    name: String,
    count: i32,
    last: Instant,
}

impl EventBudget {
    /// Takes a token of an object for an Event; None if none is left. `name` generates the name of a new series.
    pub(crate) fn take(
        &mut self,
        object: &str,
        event: (&str, &str),
        now: Instant,
        name: impl FnOnce() -> String,
    ) -> Option<Published> {
        self.use_object(object, now);
        let object = self.objects.get_mut(object)?;
        object.refill(now);
        object.tokens = object.tokens.checked_sub(1)?;
        let hash = hash(event);
        object.series.retain(|series| now.duration_since(series.last) < SERIES_WINDOW);
        let index = object.series.iter().position(|series| series.hash == hash);
        let mut series = index.and_then(|index| object.series.remove(index)).unwrap_or_else(|| Series {
            hash,
            name: name(),
            count: 0,
            last: now,
        });
        (series.count, series.last) = (series.count.saturating_add(1), now);
        let published = Published { name: series.name.clone(), count: series.count };
        if object.series.len() == MAX_SERIES {
            object.series.pop_front();
        }
        object.series.push_back(series);
        Some(published)
    }

    fn use_object(&mut self, name: &str, now: Instant) {
        self.uses += 1;
        let used = self.uses;
        if let Some(object) = self.objects.get_mut(name) {
            self.by_use.remove(&object.used);
            object.used = used;
        } else {
            if self.objects.len() == MAX_OBJECTS
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.objects.remove(&oldest);
            }
            let object = Object { used, tokens: BURST, refilled: now, series: VecDeque::new() };
            self.objects.insert(name.to_owned(), object);
        }
        self.by_use.insert(used, name.to_owned());
    }
}

impl Object {
    fn refill(&mut self, now: Instant) {
        let periods = now.duration_since(self.refilled).as_secs() / REFILL_INTERVAL.as_secs();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.tokens = self.tokens.saturating_add(periods).min(BURST);
            self.refilled += REFILL_INTERVAL.saturating_mul(periods);
        }
    }
}

fn hash(event: (&str, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    event.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(budget: &mut EventBudget, object: &str, note: &str, now: Instant) -> Option<i32> {
        budget.take(object, ("Invalid", note), now, || format!("{object}.{note}")).map(|it| it.count)
    }

    #[test]
    fn alternating_notes_are_rate_limited() {
        let (mut budget, start) = (EventBudget::default(), Instant::now());
        let mut published = 0;
        for edit in 0..3600u32 {
            let now = start + Duration::from_secs(1) * edit;
            published += u32::from(take(&mut budget, "f", &format!("{}", edit % 2), now).is_some());
        }
        assert_eq!(published, BURST + 11, "an hour of one edit per second");
        assert_eq!(take(&mut budget, "other", "0", start), Some(1), "each object has its own budget");
    }

    #[test]
    fn equal_events_share_a_series_within_the_window() {
        let (mut budget, start) = (EventBudget::default(), Instant::now());
        assert_eq!(take(&mut budget, "f", "a", start), Some(1));
        assert_eq!(take(&mut budget, "f", "b", start), Some(1));
        assert_eq!(take(&mut budget, "f", "a", start + SERIES_WINDOW / 2), Some(2));
        assert_eq!(take(&mut budget, "f", "a", start + SERIES_WINDOW), Some(3));
        assert_eq!(take(&mut budget, "f", "a", start + 2 * SERIES_WINDOW), Some(1));
    }

    #[test]
    fn tracked_objects_and_series_are_bounded() {
        let (mut budget, now) = (EventBudget::default(), Instant::now());
        for object in 0..3 * MAX_OBJECTS {
            take(&mut budget, &object.to_string(), "a", now);
        }
        assert_eq!((budget.objects.len(), budget.by_use.len()), (MAX_OBJECTS, MAX_OBJECTS));
        for note in 0..BURST {
            take(&mut budget, "f", &note.to_string(), now);
        }
        assert_eq!(budget.objects["f"].series.len(), MAX_SERIES);
        assert_eq!(budget.objects.len(), MAX_OBJECTS);
    }
}

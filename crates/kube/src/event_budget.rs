//! What was published lately, and what may still be: pure, the time is an argument.
//!
//! As client-go's spam filter: an object has 25 Events at once, and then one in five minutes, so that a tenant that
//! alternates two broken specifications writes few. Bounded in objects and in what is kept of each; the object that
//! was quiet for longest is forgotten first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Events of one object at once.
const BURST: u32 = 25;
/// After that, one in this time.
const REFILL: Duration = Duration::from_mins(5);
/// Objects that are remembered.
const OBJECTS: usize = 4096;
/// Different Events that are remembered of one object, to count repetitions.
const SERIES: usize = 8;
/// How long the same Event counts as a repetition.
const REPETITION: Duration = Duration::from_mins(6);

/// An Event that may be published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Published {
    /// Its name.
    pub(crate) name: String,
    /// For which time in a row.
    pub(crate) count: i32,
}

/// What was published lately.
#[derive(Debug, Default)]
pub(crate) struct EventBudget {
    objects: HashMap<String, Object>,
    /// Objects by when they were last used.
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
    digest: u64,
    name: String,
    count: i32,
    last: Instant,
}

impl EventBudget {
    /// Takes an Event of an object from its budget; None if that is spent. `name` names a new one.
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
        let digest = digest(event);
        object.series.retain(|series| now.duration_since(series.last) < REPETITION);
        let at = object.series.iter().position(|series| series.digest == digest);
        let mut series = at.and_then(|at| object.series.remove(at)).unwrap_or_else(|| Series {
            digest,
            name: name(),
            count: 0,
            last: now,
        });
        (series.count, series.last) = (series.count.saturating_add(1), now);
        let published = Published { name: series.name.clone(), count: series.count };
        if object.series.len() == SERIES {
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
            if self.objects.len() == OBJECTS
                && let Some((_, quiet)) = self.by_use.pop_first()
            {
                self.objects.remove(&quiet);
            }
            let object = Object { used, tokens: BURST, refilled: now, series: VecDeque::new() };
            self.objects.insert(name.to_owned(), object);
        }
        self.by_use.insert(used, name.to_owned());
    }
}

impl Object {
    fn refill(&mut self, now: Instant) {
        let periods = now.duration_since(self.refilled).as_secs() / REFILL.as_secs();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        if periods > 0 {
            self.tokens = self.tokens.saturating_add(periods).min(BURST);
            self.refilled += REFILL.saturating_mul(periods);
        }
    }
}

fn digest(event: (&str, &str)) -> u64 {
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
    fn a_tenant_that_alternates_two_broken_specifications_makes_few_events() {
        let (mut budget, start) = (EventBudget::default(), Instant::now());
        let mut made = 0;
        for edit in 0..3600u32 {
            let now = start + Duration::from_secs(1) * edit;
            made += u32::from(take(&mut budget, "f", &format!("{}", edit % 2), now).is_some());
        }
        assert_eq!(made, BURST + 11, "an hour of one edit a second");
        assert_eq!(take(&mut budget, "other", "0", start), Some(1), "others have a budget of their own");
    }

    #[test]
    fn repetitions_are_counted_and_end() {
        let (mut budget, start) = (EventBudget::default(), Instant::now());
        assert_eq!(take(&mut budget, "f", "a", start), Some(1));
        assert_eq!(take(&mut budget, "f", "b", start), Some(1));
        assert_eq!(take(&mut budget, "f", "a", start + REPETITION / 2), Some(2));
        assert_eq!(take(&mut budget, "f", "a", start + REPETITION), Some(3));
        assert_eq!(take(&mut budget, "f", "a", start + 2 * REPETITION), Some(1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut budget, now) = (EventBudget::default(), Instant::now());
        for object in 0..3 * OBJECTS {
            take(&mut budget, &object.to_string(), "a", now);
        }
        assert_eq!((budget.objects.len(), budget.by_use.len()), (OBJECTS, OBJECTS));
        for note in 0..BURST {
            take(&mut budget, "f", &note.to_string(), now);
        }
        assert_eq!(budget.objects["f"].series.len(), SERIES);
        assert_eq!(budget.objects.len(), OBJECTS);
    }
}

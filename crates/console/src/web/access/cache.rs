//! Answers that are used again for a short time, and not too many of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Answers by question.
#[derive(Debug)]
pub(in crate::web) struct Cache<K, V> {
    answers: Mutex<HashMap<K, (Instant, V)>>,
    lifetime: Duration,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// At most so many answers, each for so long.
    pub(in crate::web) fn new(lifetime: Duration, most: usize) -> Self {
        Self { answers: Mutex::default(), lifetime, most }
    }

    /// The answer, if it is known and not too old.
    pub(in crate::web) fn get(&self, question: &K) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(since, _)| since.elapsed() < self.lifetime).map(|(_, it)| it.clone())
    }

    /// Keeps an answer. If there are too many, old ones go, and if there are none, all of them.
    pub(in crate::web) fn insert(&self, question: K, answer: V) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= self.most {
            answers.retain(|_, (since, _)| since.elapsed() < self.lifetime);
        }
        if answers.len() >= self.most {
            answers.clear();
        }
        answers.insert(question, (Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_are_short_lived_and_few() {
        let cache = Cache::new(Duration::from_secs(30), 2);
        cache.insert("a", 1);
        tokio::time::advance(Duration::from_secs(20)).await;
        cache.insert("b", 2);
        assert_eq!((cache.get(&"a"), cache.get(&"b")), (Some(1), Some(2)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((cache.get(&"a"), cache.get(&"b")), (None, Some(2)));
        cache.insert("c", 3);
        assert_eq!((cache.get(&"b"), cache.get(&"c")), (Some(2), Some(3)), "only the old one went");
        cache.insert("d", 4);
        assert_eq!((cache.get(&"b"), cache.get(&"c"), cache.get(&"d")), (None, None, Some(4)));
    }
}

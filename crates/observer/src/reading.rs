//! A number that is known, or unknown for a cause.
//!
//! There is no way from an unknown reading to a number but to name one: a reading has no order, no arithmetic, and its
//! default is unknown. A sum is known only if all its terms are.

use std::fmt;

/// Why a number is unknown.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Cause {
    /// Nothing was asked yet, or this request does not ask for it.
    NotAsked,
    /// The answer does not contain it.
    NotReported,
    /// Some partitions or pods did not report.
    Incomplete,
    /// The request failed: no connection, a timeout, or a server error.
    Failed,
    /// The operator does not trust the server's certificate.
    Untrusted,
    /// Pulsar denied the request: 401 or 403.
    Unauthorized,
    /// The operator cannot read its own credentials.
    NoCredentials,
    /// The topic does not exist.
    NotFound,
    /// The subscription does not exist on the topic.
    NoSubscription,
    /// No topic matches the pattern.
    NoMatch,
    /// The last answer is too old.
    Stale,
    /// A counter fell, so that the topic was moved or recreated, or a pod restarted.
    CounterReset,
    /// There is only one sample, and a rate needs two.
    TooFewSamples,
    /// Two brokers report the same topic.
    Ambiguous,
    /// The answer exceeds a limit.
    TooLarge,
    /// The answer cannot be decoded.
    Invalid,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 16] = [
        Self::NotAsked,
        Self::NotReported,
        Self::Incomplete,
        Self::Failed,
        Self::Untrusted,
        Self::Unauthorized,
        Self::NoCredentials,
        Self::NotFound,
        Self::NoSubscription,
        Self::NoMatch,
        Self::Stale,
        Self::CounterReset,
        Self::TooFewSamples,
        Self::Ambiguous,
        Self::TooLarge,
        Self::Invalid,
    ];

    /// Whether it concerns all requests to a cluster.
    pub const fn is_of_cluster(self) -> bool {
        matches!(self, Self::Failed | Self::Untrusted | Self::Unauthorized | Self::NoCredentials)
    }

    /// What happened, for the message of a condition.
    pub const fn description(self) -> &'static str {
        match self {
            Self::NotAsked => "not asked yet",
            Self::NotReported => "Pulsar does not report it",
            Self::Incomplete => "some partitions or pods did not report",
            Self::Failed => "Pulsar does not answer",
            Self::Untrusted => "the operator does not trust Pulsar's certificate",
            Self::Unauthorized => "Pulsar denies the operator access",
            Self::NoCredentials => "the operator cannot read its credentials for Pulsar",
            Self::NotFound => "the topic does not exist",
            Self::NoSubscription => "the subscription does not exist",
            Self::NoMatch => "no topic matches the pattern",
            Self::Stale => "the last answer is too old",
            Self::CounterReset => "counters restarted",
            Self::TooFewSamples => "there is only one sample",
            Self::Ambiguous => "two brokers report the topic",
            Self::TooLarge => "the answer is too large",
            Self::Invalid => "the answer cannot be decoded",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// A number, or why there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading<T> {
    /// Reported.
    Known(T),
    /// Not reported.
    Unknown(Cause),
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::Unknown(Cause::NotReported)
    }
}

impl<T> From<Option<T>> for Reading<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unknown(Cause::NotReported), Self::Known)
    }
}

impl<T> Reading<T> {
    /// The number, if it is known.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Whether there is a number.
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// Why there is no number.
    pub const fn cause(&self) -> Option<Cause> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(cause) => Some(*cause),
        }
    }

    /// Whether it is known, and the condition holds.
    pub fn is_known_and(self, condition: impl FnOnce(T) -> bool) -> bool {
        self.known().is_some_and(condition)
    }

    /// Another number from a known one.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Known(value) => Reading::Known(change(value)),
            Self::Unknown(cause) => Reading::Unknown(cause),
        }
    }

    /// Another reading from a known one.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Reading<U>) -> Reading<U> {
        match self {
            Self::Known(value) => next(value),
            Self::Unknown(cause) => Reading::Unknown(cause),
        }
    }

    /// Both numbers, or the cause of the first unknown one.
    pub fn zip<U>(self, other: Reading<U>) -> Reading<(T, U)> {
        self.and_then(|one| other.map(|two| (one, two)))
    }

    /// The first reading that is known.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_known() || !other.is_known() { self } else { other }
    }

    /// All numbers, combined. Unknown if one is, and without any.
    pub fn fold(terms: impl IntoIterator<Item = Self>, combine: impl Fn(T, T) -> T) -> Self {
        let mut total = None;
        for term in terms {
            match term {
                Self::Unknown(cause) => return Self::Unknown(cause),
                Self::Known(value) => {
                    total = Some(match total {
                        None => value,
                        Some(sum) => combine(sum, value),
                    });
                }
            }
        }
        total.map_or(Self::Unknown(Cause::NotAsked), Self::Known)
    }
}

impl<T> Reading<Option<T>> {
    /// What is known to exist.
    pub(crate) const fn as_ref_known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => value.as_ref(),
            Self::Unknown(_) => None,
        }
    }
}

impl Reading<u64> {
    /// The sum, which ends at the maximum.
    pub fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        Self::fold(terms, u64::saturating_add)
    }
}

impl Reading<f64> {
    /// The sum.
    pub fn sum(terms: impl IntoIterator<Item = Self>) -> Self {
        Self::fold(terms, |one, other| one + other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNKNOWN: Reading<u64> = Reading::Unknown(Cause::Incomplete);

    #[test]
    fn sum_is_unknown_if_one_term_is() {
        assert_eq!(Reading::<u64>::sum([Reading::Known(1), Reading::Known(2)]), Reading::Known(3));
        assert_eq!(Reading::<u64>::sum([Reading::Known(1), UNKNOWN]), UNKNOWN);
        assert_eq!(Reading::<u64>::sum([]), Reading::Unknown(Cause::NotAsked));
        assert_eq!(
            Reading::<u64>::sum([Reading::Known(u64::MAX), Reading::Known(1)]),
            Reading::Known(u64::MAX)
        );
    }

    #[test]
    fn default_is_unknown() {
        assert_eq!(Reading::<u64>::default().known(), None);
        assert!(!UNKNOWN.is_known_and(|_| true));
    }

    #[test]
    fn or_prefers_a_known_reading() {
        assert_eq!(UNKNOWN.or(Reading::Known(0)), Reading::Known(0));
        assert_eq!(Reading::Known(1).or(UNKNOWN), Reading::Known(1));
        assert_eq!(UNKNOWN.or(Reading::Unknown(Cause::Failed)), UNKNOWN);
    }

    #[test]
    fn causes_have_descriptions_for_people() {
        for cause in Cause::ALL {
            assert!(cause.to_string().len() > 8, "{cause:?}");
        }
    }
}

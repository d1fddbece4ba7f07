//! Judges what the pods of a canary did, compared with the pods of the version before.
//!
//! Missing figures are never a success: a judgement says that something is wrong, that nothing is, or that too little is known.

use std::fmt::{self, Write as _};
use std::time::Duration;

use function_mesh_api::types::{CanaryAnalysis, MAX_EXCEPTION_RATIO, MIN_MESSAGES};
use serde::{Deserialize, Serialize};

/// Millionths in one.
const MILLION: u64 = 1_000_000;
/// Standard errors by which a ratio must exceed its limit: a step is judged many times, and exceptions come in bursts.
const STANDARD_ERRORS: f64 = 5.0;
/// Pods of a canary whose figures must be known, if there are so many.
pub const SAMPLE: u32 = 8;
/// Mean times of a call of the version before for which a message must be held, if no other pod is there to compare with.
const CALLS_HELD: u32 = 10;

/// What pods of one version did in some time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Figures {
    /// Pods.
    pub pods: u32,
    /// Pods of them whose figures are known.
    pub known: u32,
    /// Messages received.
    pub received: u64,
    /// Messages processed.
    pub processed: u64,
    /// Exceptions, of the user's code and of the runner.
    pub exceptions: u64,
    /// Restarts of containers.
    pub restarts: u32,
    /// Milliseconds of all calls, if every pod reports them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Number of these calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
}

/// What a canary may do. Ratios are in millionths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Exceptions for each received message, above those of the version before.
    pub max_exceptions: u64,
    /// Restarts.
    pub max_restarts: u32,
    /// Mean milliseconds of a call, if that is judged.
    pub max_latency_ms: Option<u64>,
    /// Messages with fewer than which nothing is concluded.
    pub min_messages: u64,
}

/// The judgement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It did nothing that it may not do.
    Success,
    /// It did, and this.
    Failure(String),
    /// Too little is known: this is missing.
    Inconclusive(String),
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(None)
    }
}

impl Limits {
    /// The limits of a spec, and the defaults of those that it leaves out.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "the ratio is from 0 to 1"
    )]
    pub fn of(analysis: Option<&CanaryAnalysis>) -> Self {
        let ratio = analysis.and_then(|it| it.max_exception_ratio).unwrap_or(MAX_EXCEPTION_RATIO);
        let positive = |number: i64| u64::try_from(number).ok().filter(|it| *it > 0);
        Self {
            max_exceptions: (ratio.clamp(0.0, 1.0) * MILLION as f64).round() as u64,
            max_restarts: analysis.and_then(|it| u32::try_from(it.max_restarts?).ok()).unwrap_or_default(),
            max_latency_ms: analysis.and_then(|it| positive(it.max_latency_ms?)),
            min_messages: analysis.and_then(|it| positive(it.min_messages?)).unwrap_or(MIN_MESSAGES),
        }
    }
}

/// Judges the pods of a canary. `before` is the version before, as far as it is known: its pods meanwhile, or what they did
/// until the canary began. Whether messages are processed is judged at the end of a step, since the first one may take a while.
pub fn judge(canary: &Figures, before: Option<&Figures>, limits: &Limits, is_end: bool) -> Verdict {
    let before = before.filter(|before| before.received > 0);
    if canary.restarts > limits.max_restarts {
        let (count, most) = (canary.restarts, limits.max_restarts);
        return Verdict::Failure(format!("containers restarted {count} times, at most {most} are allowed"));
    }
    let limit = ratio(limits.max_exceptions, MILLION);
    let (own, other) = (canary.ratio(), before.map_or(0.0, Figures::ratio));
    if let Some(before) = before
        && own - other - limit > STANDARD_ERRORS * canary.error_of_difference(before)
    {
        return Verdict::Failure(format!(
            "{}, which is more than {} above the version before: {}",
            canary.exceptions_text(),
            percent(limit),
            before.exceptions_text(),
        ));
    }
    let has_enough = canary.received >= limits.min_messages;
    if let (Some(most), Some(mean)) = (limits.max_latency_ms, canary.mean_ms())
        && mean > most
        && canary.calls.is_some_and(|calls| calls >= limits.min_messages)
    {
        return Verdict::Failure(format!("a call takes {mean}ms on average, at most {most}ms are allowed"));
    }
    let is_idle = is_end && has_enough && canary.processed == 0;
    if is_idle && before.is_some_and(|before| before.processed > 0) {
        let text = format!("received {} messages and processed none", canary.received);
        return Verdict::Failure(text);
    }
    let missing = if canary.known < canary.pods.min(SAMPLE) || canary.pods == 0 {
        format!("figures are known of {} of {} pods", canary.known, canary.pods)
    } else if !has_enough {
        format!("{} of at least {} messages received", coarse(canary.received), limits.min_messages)
    } else if is_idle {
        "messages are received and none is processed, and it is not known whether that was so before"
            .to_owned()
    } else if own - other > limit {
        let reason = if before.is_some() {
            "more messages are needed"
        } else {
            "those of the version before are unknown"
        };
        format!("{} exceptions for each message, and {reason}", percent(own))
    } else if limits.max_latency_ms.is_some() && canary.calls.is_none_or(|calls| calls < limits.min_messages)
    {
        "too little is known of the time of calls".to_owned()
    } else {
        return Verdict::Success;
    };
    Verdict::Inconclusive(missing)
}

/// Why the pods of a canary hang: they took messages and processed none in a step, while each of the others processed enough.
/// A runner takes few messages from its consumer until the first one is processed, so that their number says little.
pub fn hangs(canary: &Figures, others: Option<&Figures>, limits: &Limits) -> Option<String> {
    let others = others?;
    let each = others.processed.checked_div(others.pods.into())?;
    (canary.holds() && each >= limits.min_messages).then(|| {
        let (received, processed) = (canary.received, others.processed);
        format!("received {received} messages and processed none, while the other pods processed {processed}")
    })
}

/// The same if no other pod is there to compare with: the pods have held messages for half of their step, and for many times
/// what a call of the version before took.
pub(crate) fn holds_too_long(
    canary: &Figures,
    before: Option<&Figures>,
    limits: &Limits,
    (held, step): (Duration, Duration),
) -> Option<String> {
    let before = before.filter(|before| before.processed >= limits.min_messages)?;
    let mean = before.mean_ms()?;
    let least = Duration::from_millis(mean).saturating_mul(CALLS_HELD).max(step / 2);
    (canary.holds() && held >= least).then(|| {
        let received = canary.received;
        format!("received {received} messages and processed none, while a call of the version before took {mean}ms")
    })
}

impl Figures {
    /// Whether messages were received, and none was processed.
    pub(crate) fn holds(&self) -> bool {
        self.received > 0 && self.processed == 0
    }

    /// Exceptions for each message.
    fn ratio(&self) -> f64 {
        ratio(self.exceptions, self.received)
    }

    /// Standard error of the difference of two ratios: the larger one of two estimates. With a ratio for each, a short streak of
    /// luck of one would look certain; with one for both, few messages would count as much as many.
    fn error_of_difference(&self, other: &Self) -> f64 {
        let (own, others) = (count(self.received), count(other.received));
        let separate =
            (variance(self.exceptions, own) / own + variance(other.exceptions, others) / others).sqrt();
        let both = variance(self.exceptions.saturating_add(other.exceptions), own + others);
        separate.max((both * (1.0 / own + 1.0 / others)).sqrt())
    }

    /// Mean milliseconds of a call.
    fn mean_ms(&self) -> Option<u64> {
        self.latency_ms?.checked_div(self.calls?)
    }

    /// Adds what other pods did.
    pub(crate) fn add(&mut self, other: &Self) {
        let sum = |one: u64, other: u64| one.saturating_add(other);
        let both = |one: Option<u64>, other: Option<u64>| Some(sum(one?, other?));
        let is_first = self.known == 0;
        self.pods = self.pods.saturating_add(other.pods);
        self.restarts = self.restarts.saturating_add(other.restarts);
        if other.known == 0 {
            return;
        }
        self.known = self.known.saturating_add(other.known);
        self.received = sum(self.received, other.received);
        self.processed = sum(self.processed, other.processed);
        self.exceptions = sum(self.exceptions, other.exceptions);
        (self.latency_ms, self.calls) = if is_first {
            (other.latency_ms, other.calls)
        } else {
            (both(self.latency_ms, other.latency_ms), both(self.calls, other.calls))
        };
    }

    fn exceptions_text(&self) -> String {
        format!("{} exceptions in {} messages ({})", self.exceptions, self.received, percent(self.ratio()))
    }

    /// The figures for a status, rounded so that it is not written all the time.
    pub fn coarse_text(&self) -> String {
        let mut text = format!("{} messages, {} exceptions", coarse(self.received), coarse(self.exceptions));
        if self.restarts > 0 {
            // Writing to a string cannot fail.
            _ = write!(text, ", {} restarts", self.restarts);
        }
        text
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} processed", self.exceptions_text(), self.processed)?;
        self.mean_ms().map_or(Ok(()), |mean| write!(f, ", {mean}ms a call"))
    }
}

/// Messages, with two more so that few of them prove little.
#[allow(clippy::cast_precision_loss, reason = "an error needs no more than 52 bits")]
fn count(received: u64) -> f64 {
    received as f64 + 2.0
}

/// Variance of one message that raises or not. It is never zero.
#[allow(clippy::cast_precision_loss, reason = "an error needs no more than 52 bits")]
fn variance(exceptions: u64, count: f64) -> f64 {
    let share = ((exceptions as f64 + 1.0) / count).min(1.0);
    share * (1.0 - share).max(1.0 / count)
}

#[allow(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn percent(ratio: f64) -> String {
    let text = format!("{:.1}", ratio * 100.0);
    format!("{}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// One significant digit, rounded down: `300` for 342.
fn coarse(number: u64) -> u64 {
    let mut factor = 1_u64;
    while number / factor >= 10 {
        factor = factor.saturating_mul(10);
    }
    number / factor * factor
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;

//! A decision in plain sentences: why this number, what limits it, and what would change it.

use std::fmt::Write as _;
use std::time::Duration;

use function_mesh_observer::Reading;

use crate::decision::{Decision, Limit, Reason, Terms};
use crate::learned::RateSource;
use crate::number::show;
use crate::policy::UPPER;

impl Decision {
    /// The decision in one line, for an Event.
    pub fn summary(&self) -> String {
        let terms = &self.terms;
        let mut text = if self.is_change() {
            format!("{} -> {} replicas: {}", self.current, self.replicas, self.reason)
        } else {
            format!("{} replicas: {}", self.current, self.reason)
        };
        if let Reading::Known(need) = terms.need {
            let rate = terms.rate_per_replica.map_or("unknown".to_owned(), show);
            let _ = write!(
                text,
                " (in {}/s, {} waiting, need {}/s, {rate}/s per replica)",
                number(terms.demand),
                number(terms.load.undispatched),
                show(need)
            );
        }
        text
    }

    /// All terms in sentences, one per line.
    pub fn explain(&self) -> String {
        let mut lines = vec![format!("Replicas: {}, set: {}.", self.replicas, self.current)];
        lines.push(format!("Reason: {}: {}.", self.reason.name(), self.reason));
        lines.extend(load_lines(&self.terms));
        lines.extend(need_lines(&self.terms));
        lines.extend(self.limit_lines());
        lines.push(format!("What would change it: {}.", self.what_would_change_it()));
        lines.join("\n")
    }

    fn limit_lines(&self) -> Vec<String> {
        let bounds = self.terms.bounds;
        let mut line = format!("Bounds: minReplicas {}, maxReplicas {}", bounds.min, bounds.max);
        if let Some(useful) = bounds.useful {
            let _ = write!(line, ", {useful} by the subscription");
        }
        if let Some(in_flight) = bounds.in_flight {
            let _ = write!(line, ", {in_flight} by the messages in flight");
        }
        let mut lines = vec![line + "."];
        if let Some(limit) = self.limited_by {
            lines.push(format!("Limited by {}.", limit.description()));
        }
        lines
    }

    fn what_would_change_it(&self) -> String {
        let terms = &self.terms;
        match &self.reason {
            Reason::Held(_) => return "nothing, until that ends".to_owned(),
            Reason::Asleep => return "a message, or a component before it that wakes".to_owned(),
            Reason::MissingData(_) => return "complete answers of Pulsar and of the pods".to_owned(),
            Reason::Settling => return "the pods of the last change become ready".to_owned(),
            Reason::Ineffective => {
                return "another arrival rate or throughput, or an empty backlog; look at keys and at what the \
                        function calls"
                    .to_owned();
            }
            Reason::Poisoned => {
                return "an acknowledgement, or a dead-letter topic for these messages".to_owned();
            }
            Reason::RateUnknown | Reason::Doubling => {
                return "the first measured rate of a replica".to_owned();
            }
            Reason::SleepRefused(_) | Reason::SleepUnknown(_) => {
                return "policies of the Pulsar namespace that allow sleep".to_owned();
            }
            Reason::SubscriptionMissing => return "the subscription on every topic".to_owned(),
            _ => {}
        }
        let mut changes = Vec::new();
        match self.limited_by {
            Some(Limit::Maximum) => changes.push("a larger maxReplicas".to_owned()),
            Some(Limit::Subscription) => changes.push("more partitions, or a Shared subscription".to_owned()),
            Some(Limit::Budget) => changes.push("a larger maxTotalReplicas".to_owned()),
            Some(Limit::Minimum) => changes.push("a smaller minReplicas".to_owned()),
            Some(Limit::InFlight | Limit::StepDown) | None => {}
        }
        if let Some(rate) = terms.rate_per_replica {
            let replicas = f64::from(self.replicas.max(1));
            let upper = rate * replicas * (terms.utilization * UPPER).min(1.0);
            changes.push(format!("more than {}/s for one replica more", show(upper)));
            if self.replicas > terms.bounds.min.max(1) {
                let lower = rate * (replicas - 1.0) * terms.utilization;
                changes.push(format!("less than {}/s for some minutes for one less", show(lower)));
            }
        }
        if changes.is_empty() { "another load".to_owned() } else { changes.join("; ") }
    }
}

fn load_lines(terms: &Terms) -> Vec<String> {
    let load = &terms.load;
    let lag = load.lag.map(|lag| lag.as_secs_f64());
    let mut lines = vec![
        format!("Messages arrive at {}/s.", number(load.in_rate)),
        format!(
            "{} messages wait or are being worked on; {} of them have reached no pod.",
            number(load.work),
            number(load.undispatched)
        ),
        format!("The oldest is {} s old; the objective is {}.", number(lag), time(terms.objective)),
        format!("The pods finish {}/s; {} of their time is used.", number(load.throughput), share(load.busy)),
    ];
    if terms.upstream.is_known() {
        lines.push(format!("Components before it are about to produce {}/s.", number(terms.upstream)));
    }
    if let (Some(rate), Reading::Known(held)) = (terms.rate_per_replica, load.unacked) {
        let pods = f64::from(terms.ready.max(1));
        let seconds = crate::number::float(held) / pods / rate;
        if seconds > terms.objective.as_secs_f64() {
            lines.push(format!(
                "The pods hold {held} messages, work for {} s each: a receiver queue of {} shares them better.",
                show(seconds),
                show((rate * 5.0).ceil())
            ));
        }
    }
    lines
}

fn need_lines(terms: &Terms) -> Vec<String> {
    let mut lines = vec![
        format!(
            "Need: {}/s for arrivals at a utilization of {}, {}/s to work off the backlog within {}, {}/s for what \
             arrives while pods start ({}); together {}/s.",
            number(terms.for_arrivals),
            show(terms.utilization),
            number(terms.for_backlog),
            time(terms.catch_up),
            number(terms.for_start),
            time(terms.start_time),
            number(terms.need)
        ),
        match (terms.rate_per_replica, terms.source) {
            (None, _) => "The rate of a replica is not known yet.".to_owned(),
            (Some(rate), RateSource::Busy) => {
                format!("A replica can finish {}/s, by the share of time that it is busy.", show(rate))
            }
            (Some(rate), RateSource::Saturated) => {
                format!("A replica can finish {}/s, as it did while messages waited.", show(rate))
            }
        },
    ];
    if let Some(scalability) = terms.scalability.filter(|scalability| *scalability < 0.995) {
        lines.push(format!("With more replicas each keeps {} of that.", share(Reading::Known(scalability))));
    }
    if let Some(wish) = terms.wish {
        lines.push(match terms.largest_wish {
            Some(largest) => format!("That is {wish} replicas; {largest} at most within the last minutes."),
            None => format!("That is {wish} replicas."),
        });
    }
    lines
}

fn number(reading: Reading<f64>) -> String {
    match reading {
        Reading::Known(number) => show(number),
        Reading::Unknown(cause) => format!("an unknown number ({cause})"),
    }
}

fn share(reading: Reading<f64>) -> String {
    match reading {
        Reading::Known(share) => format!("{:.0} %", share * 100.0),
        Reading::Unknown(cause) => format!("an unknown share ({cause})"),
    }
}

fn time(duration: Duration) -> String {
    format!("{} s", show(duration.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learned::Learned;
    use crate::testing::{at, steady};
    use crate::{Component, History, Memory, Policy, decide};

    fn explain(backlog: u64, rate: f64, policy: &Policy) -> Decision {
        let memory = Memory::new(Learned { rate_per_replica: Some(20.0), ..Learned::default() });
        let window = steady(10, backlog, rate);
        decide(History { window: &window, memory: &memory }, policy, &Component::default(), at(100))
    }

    #[test]
    fn sentences_contain_every_term() {
        let text =
            explain(1200, 80.0, &Policy { max_replicas: 5, utilization: 0.8, ..Policy::default() }).explain();
        for part in [
            "Replicas: 5, set: 1.",
            "Messages arrive at 80/s.",
            "1200 messages wait",
            "100/s for arrivals at a utilization of 0.8, 20/s to work off the backlog within 60 s, 30/s",
            "together 150/s",
            "A replica can finish 20/s",
            "Limited by maxReplicas.",
            "What would change it: a larger maxReplicas",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.lines().all(|line| line.len() < 300 && line.ends_with('.')), "{text}");
    }

    #[test]
    fn unknown_numbers_have_causes_and_no_digits() {
        let memory = Memory::default();
        let window = function_mesh_observer::Window::new(4);
        let history = History { window: &window, memory: &memory };
        let text = decide(history, &Policy::default(), &Component::default(), at(100)).explain();
        assert!(text.contains("Messages arrive at an unknown number (not asked yet)/s."), "{text}");
        assert!(text.contains("MissingData"), "{text}");
    }

    #[test]
    fn every_reason_has_a_name_and_a_sentence() {
        let all = Reason::all();
        let names: std::collections::BTreeSet<_> = all.iter().map(Reason::name).collect();
        assert_eq!(names.len(), all.len());
        assert!(all.iter().all(|reason| reason.to_string().len() > 8));
    }

    #[test]
    fn an_event_has_one_line() {
        let text = explain(0, 80.0, &Policy::default()).summary();
        assert!(text.starts_with("1 -> 6 replicas: more messages arrive"), "{text}");
        assert!(!text.contains('\n') && text.len() < 250, "{text}");
    }
}

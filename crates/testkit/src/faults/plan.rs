//! Selects the request and the fault: a planned one, or random ones.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::request::{Asked, Purpose};

/// A fault of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The response has this status; the request does not reach the server.
    Refuse(StatusCode),
    /// The request does not reach the server, and the connection breaks.
    Lose,
    /// The server processes it, and the connection breaks before the response.
    DropAnswer,
    /// The request is delayed.
    Delay(Duration),
    /// The request is sent twice; the client gets the second response.
    Duplicate,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse(code) => write!(f, "refuse {}", code.as_u16()),
            Self::Lose => f.write_str("lose"),
            Self::DropAnswer => f.write_str("drop answer"),
            Self::Delay(_) => f.write_str("delay"),
            Self::Duplicate => f.write_str("duplicate"),
        }
    }
}

/// A fault of a watch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WatchFault {
    /// The watch ends gracefully after this many events.
    End(usize),
    /// The connection breaks after this many events.
    Break(usize),
    /// The response is an expired resource version.
    Gone,
}

impl fmt::Display for WatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::End(_) => "end watch",
            Self::Break(_) => "break watch",
            Self::Gone => "watch gone",
        })
    }
}

/// Rates of random faults per thousand requests.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Rate for requests other than watches.
    pub requests: u32,
    /// Rate for watches.
    pub watches: u32,
}

/// The decision about a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Decision {
    Pass,
    Strike(Fault),
    /// Inject the fault, and disconnect the client.
    Crash(Fault),
    StrikeWatch(WatchFault),
}

/// A planned fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned<F> {
    pub(super) at: usize,
    pub(super) fault: F,
    pub(super) crash: bool,
}

/// Counters and plans.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Counted requests since the last reset.
    pub(super) asked: Vec<Asked>,
    /// Watches since the last reset.
    pub(super) watches: usize,
    pub(super) request: Option<Planned<Fault>>,
    pub(super) watch: Option<Planned<WatchFault>>,
    pub(super) chance: Option<(fastrand::Rng, Rates)>,
    /// The request that got the planned fault.
    pub(super) victim: Option<Asked>,
    /// The namespace whose watches are disconnected.
    pub(super) cut_off: Option<String>,
    pub(super) tally: BTreeMap<String, usize>,
    pub(super) under_way: usize,
    pub(super) last_activity: Option<Instant>,
    pub(super) last_change: Option<Instant>,
}

impl Plan {
    pub(super) fn decide(&mut self, asked: &Asked) -> Decision {
        let decision = if asked.purpose == Purpose::Watch {
            self.watches += 1;
            self.about_watch(asked)
        } else {
            if asked.is_counted() {
                self.asked.push(asked.clone());
            }
            self.about_request(asked)
        };
        let name = match decision {
            Decision::Pass => return decision,
            Decision::Strike(fault) | Decision::Crash(fault) => fault.to_string(),
            Decision::StrikeWatch(fault) => fault.to_string(),
        };
        *self.tally.entry(name).or_default() += 1;
        decision
    }

    /// Whether it lists or watches the disconnected namespace.
    fn is_cut_off(&self, asked: &Asked) -> bool {
        self.cut_off.is_some() && self.cut_off == asked.namespace && asked.is_about_many()
    }

    fn about_request(&mut self, asked: &Asked) -> Decision {
        if self.is_cut_off(asked) {
            return Decision::Strike(Fault::Refuse(StatusCode::INTERNAL_SERVER_ERROR));
        }
        let due = self.request.take_if(|planned| asked.is_counted() && self.asked.len() == planned.at);
        if let Some(Planned { fault, crash, .. }) = due {
            self.victim = Some(asked.clone());
            return if crash { Decision::Crash(fault) } else { Decision::Strike(fault) };
        }
        match self.by_chance(|rates| rates.requests) {
            Some(random) => Decision::Strike(any_fault(random, asked)),
            None => Decision::Pass,
        }
    }

    fn about_watch(&mut self, asked: &Asked) -> Decision {
        if self.is_cut_off(asked) {
            return Decision::StrikeWatch(WatchFault::Gone);
        }
        if let Some(planned) = self.watch.take_if(|planned| self.watches == planned.at) {
            self.victim = Some(asked.clone());
            return Decision::StrikeWatch(planned.fault);
        }
        match self.by_chance(|rates| rates.watches) {
            Some(random) => Decision::StrikeWatch(match random.u32(0..3) {
                0 => WatchFault::End(random.usize(0..20)),
                1 => WatchFault::Break(random.usize(0..20)),
                _ => WatchFault::Gone,
            }),
            None => Decision::Pass,
        }
    }

    /// The random source, if it is active.
    fn by_chance(&mut self, rate: impl Fn(Rates) -> u32) -> Option<&mut fastrand::Rng> {
        let (random, rates) = self.chance.as_mut()?;
        (random.u32(0..1000) < rate(*rates)).then_some(random)
    }
}

fn any_fault(random: &mut fastrand::Rng, asked: &Asked) -> Fault {
    match random.u32(0..8) {
        0 => Fault::Refuse(StatusCode::INTERNAL_SERVER_ERROR),
        1 => Fault::Refuse(StatusCode::TOO_MANY_REQUESTS),
        2 => Fault::Refuse(StatusCode::SERVICE_UNAVAILABLE),
        // A read never gets a conflict.
        3 if asked.purpose == Purpose::Write => Fault::Refuse(StatusCode::CONFLICT),
        3 | 4 => Fault::Lose,
        5 => Fault::DropAnswer,
        6 => Fault::Duplicate,
        _ => Fault::Delay(Duration::from_millis(random.u64(20..1500))),
    }
}

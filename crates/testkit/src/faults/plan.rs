//! Selects the request and the fault: a planned one, or random ones.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::request::{Purpose, RequestInfo};

/// A fault of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The response has this status; the request does not reach the server.
    Reject(StatusCode),
    /// The request does not reach the server, and the connection breaks.
    Lose,
    /// The server processes it, and the connection breaks before the response.
    DropResponse,
    /// The request is delayed.
    Delay(Duration),
    /// The request is sent twice; the client gets the second response.
    Duplicate,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reject(code) => write!(f, "reject {}", code.as_u16()),
            Self::Lose => f.write_str("lose"),
            Self::DropResponse => f.write_str("drop response"),
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
    Inject(Fault),
    /// Inject the fault, and disconnect the client.
    Crash(Fault),
    InjectWatch(WatchFault),
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
    pub(super) requests: Vec<RequestInfo>,
    /// Watches since the last reset.
    pub(super) watches: usize,
    pub(super) request: Option<Planned<Fault>>,
    pub(super) watch: Option<Planned<WatchFault>>,
    pub(super) chance: Option<(fastrand::Rng, Rates)>,
    /// The request that got the planned fault.
    pub(super) victim: Option<RequestInfo>,
    /// The namespace whose watches are disconnected.
    pub(super) disconnected: Option<String>,
    pub(super) counts: BTreeMap<String, usize>,
    pub(super) in_flight: usize,
    pub(super) last_activity: Option<Instant>,
    pub(super) last_change: Option<Instant>,
}

impl Plan {
    pub(super) fn decide(&mut self, info: &RequestInfo) -> Decision {
        let decision = if info.purpose == Purpose::Watch {
            self.watches += 1;
            self.about_watch(info)
        } else {
            if info.is_counted() {
                self.requests.push(info.clone());
            }
            self.about_request(info)
        };
        let name = match decision {
            Decision::Pass => return decision,
            Decision::Inject(fault) | Decision::Crash(fault) => fault.to_string(),
            Decision::InjectWatch(fault) => fault.to_string(),
        };
        *self.counts.entry(name).or_default() += 1;
        decision
    }

    /// Whether it lists or watches the disconnected namespace.
    fn is_disconnected(&self, info: &RequestInfo) -> bool {
        self.disconnected.is_some() && self.disconnected == info.namespace && info.is_about_many()
    }

    fn about_request(&mut self, info: &RequestInfo) -> Decision {
        if self.is_disconnected(info) {
            return Decision::Inject(Fault::Reject(StatusCode::INTERNAL_SERVER_ERROR));
        }
        let due = self.request.take_if(|planned| info.is_counted() && self.requests.len() == planned.at);
        if let Some(Planned { fault, crash, .. }) = due {
            self.victim = Some(info.clone());
            return if crash { Decision::Crash(fault) } else { Decision::Inject(fault) };
        }
        match self.inject_randomly(|rates| rates.requests) {
            Some(random) => Decision::Inject(any_fault(random, info)),
            None => Decision::Pass,
        }
    }

    fn about_watch(&mut self, info: &RequestInfo) -> Decision {
        if self.is_disconnected(info) {
            return Decision::InjectWatch(WatchFault::Gone);
        }
        if let Some(planned) = self.watch.take_if(|planned| self.watches == planned.at) {
            self.victim = Some(info.clone());
            return Decision::InjectWatch(planned.fault);
        }
        match self.inject_randomly(|rates| rates.watches) {
            Some(random) => Decision::InjectWatch(match random.u32(0..3) {
                0 => WatchFault::End(random.usize(0..20)),
                1 => WatchFault::Break(random.usize(0..20)),
                _ => WatchFault::Gone,
            }),
            None => Decision::Pass,
        }
    }

    /// The random source, if it is active.
    fn inject_randomly(&mut self, rate: impl Fn(Rates) -> u32) -> Option<&mut fastrand::Rng> {
        let (random, rates) = self.chance.as_mut()?;
        (random.u32(0..1000) < rate(*rates)).then_some(random)
    }
}

fn any_fault(random: &mut fastrand::Rng, info: &RequestInfo) -> Fault {
    match random.u32(0..8) {
        0 => Fault::Reject(StatusCode::INTERNAL_SERVER_ERROR),
        1 => Fault::Reject(StatusCode::TOO_MANY_REQUESTS),
        2 => Fault::Reject(StatusCode::SERVICE_UNAVAILABLE),
        // A read never gets a conflict.
        3 if info.purpose == Purpose::Write => Fault::Reject(StatusCode::CONFLICT),
        3 | 4 => Fault::Lose,
        5 => Fault::DropResponse,
        6 => Fault::Duplicate,
        _ => Fault::Delay(Duration::from_millis(random.u64(20..1500))),
    }
}

//! Observes message traffic of components: what Pulsar and the pods report, as samples.
//!
//! The crate is pure: no client, no clock, no randomness. A caller asks what [`requests::plan`] lists, gives the answers
//! to [`parse`], and puts one [`Observation`] per round into the [`Tracker`] of a component. The tracker holds a
//! bounded [`Window`] of points; [`Traffic`] summarises it for a status, [`stall::detect`] judges it.
//!
//! A number that was not reported is a [`Reading::Unknown`] with its cause, and never zero.
//!
//! ```
//! use std::time::Duration;
//!
//! use function_mesh_observer::parse::{ParseLimits, StatsFlags, parse_topic_stats};
//! use function_mesh_observer::stall::{self, StallPolicy, Verdict};
//! use function_mesh_observer::{
//!     Cause, Monotonic, Observation, Reading, ServerClock, TopicObservation, Tracker, TrackerSettings, Traffic,
//!     TrafficSettings, UnixMillis, Workload,
//! };
//!
//! let json = br#"{"msgInCounter": 9, "subscriptions": {"public/default/f":
//!     {"msgBacklog": 1250, "msgBacklogNoDelayed": 1250, "lastAckedTimestamp": 0, "type": "Shared"}}}"#;
//! let now = Monotonic(Duration::from_secs(60));
//! let topic = "persistent://public/default/in".to_owned();
//! let subscription = "public/default/f".to_owned();
//! let answer = parse_topic_stats(&topic, json, StatsFlags::default(), &ParseLimits::default(), |it| it == subscription);
//! let observation = Observation {
//!     at: now,
//!     wall: UnixMillis(1_800_000_000_000),
//!     clock: ServerClock::default(),
//!     topics: vec![TopicObservation { topic, subscription, answer: answer.map_err(|error| Cause::from(&error)) }],
//!     is_output_blocked: Reading::Unknown(Cause::NotAsked),
//!     pods: Vec::new(),
//! };
//! let workload = Workload { wanted: 1, ready: 1, ready_since: Some(Monotonic::default()) };
//! let mut tracker = Tracker::new(TrackerSettings::default());
//! tracker.observe(&observation, &workload);
//!
//! let traffic = Traffic::summarize(tracker.window(), now, &TrafficSettings::default());
//! assert_eq!(traffic.backlog, Reading::Known(1300));
//! // A rate needs two samples.
//! assert!(!traffic.in_rate.is_known());
//! let verdict = stall::detect(&tracker, &workload, &StallPolicy::default(), now);
//! assert_eq!(verdict, Verdict::Progressing);
//! ```

pub mod clock;
pub mod cluster;
mod counter;
mod observation;
pub mod parse;
mod point;
mod reading;
pub mod requests;
mod run;
mod series;
pub mod stall;
mod stats;
mod tracker;
mod traffic;
mod window;

pub use clock::{Monotonic, ServerClock, UnixMillis};
pub use observation::{Observation, PodObservation, TopicObservation, Workload, is_output_blocked};
pub use point::Point;
pub use reading::{Cause, Reading};
pub use stats::{ConsumerStats, PodStats, SubscriptionStats, SubscriptionType, TopicAnswer, TopicStats};
pub use tracker::{Tracker, TrackerSettings};
pub use traffic::{Traffic, TrafficSettings, WriteLimits};
pub use window::Window;

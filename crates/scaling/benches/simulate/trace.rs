//! The traces: what is published, and what works on it.

use std::f64::consts::PI;

use crate::node::Spec;

/// A trace.
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) seconds: u64,
    /// Objective of the lag, in seconds.
    pub(crate) objective: u64,
    /// The components; messages are published to the first one.
    pub(crate) nodes: Vec<Spec>,
    /// Messages a second at a second.
    rate: fn(f64) -> f64,
    /// When the broker is away.
    pub(crate) away: Option<(u64, u64)>,
}

impl Trace {
    /// The rate with its noise: each ten seconds have another one, by up to a tenth.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(crate) fn rate_at(&self, second: f64) -> f64 {
        let slot = (second / 10.0) as u64;
        let hash = (slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let noise = hash as f64 / f64::from(1 << 24) - 0.5;
        (self.rate)(second) * (1.0 + 0.2 * noise)
    }
}

const fn minutes(count: u64) -> u64 {
    count * 60
}

/// A function that needs 50 ms for a message.
fn function(start_seconds: f64) -> Spec {
    Spec {
        work_seconds: 0.05,
        start_seconds,
        batch: 1,
        lanes: 1,
        hot_share: 0.0,
        parallel: None,
        is_synchronous: true,
        outputs: Vec::new(),
        initial: 1,
        max: 30,
    }
}

fn between(second: f64, from: f64, to: f64) -> bool {
    second >= from * 60.0 && second < to * 60.0
}

/// Every trace.
#[allow(clippy::too_many_lines)]
pub(crate) fn all() -> Vec<Trace> {
    let single = |name, about, length, spec, rate| Trace {
        name,
        about,
        seconds: minutes(length),
        objective: 60,
        nodes: vec![spec],
        rate,
        away: None,
    };
    let chain = |ratios: &[f64]| -> Vec<Spec> {
        let last = ratios.len();
        let of = |(index, ratio): (usize, &f64)| Spec {
            outputs: vec![(index + 1, *ratio)],
            initial: 0,
            ..function(25.0)
        };
        let mut nodes: Vec<_> = ratios.iter().enumerate().map(of).collect();
        nodes.push(Spec { outputs: Vec::new(), initial: 0, ..function(25.0) });
        debug_assert_eq!(nodes.len(), last + 1);
        nodes
    };
    vec![
        single("step", "40/s, for an hour 240/s, 40/s", 120, function(30.0), |second| {
            if between(second, 30.0, 90.0) { 240.0 } else { 40.0 }
        }),
        single(
            "burst",
            "20/s, three times 300/s for three minutes; batches of five",
            120,
            Spec { batch: 5, ..function(20.0) },
            |second| if second % 2400.0 >= 1200.0 && second % 2400.0 < 1380.0 { 300.0 } else { 20.0 },
        ),
        single("diurnal", "a day in four hours, between 10/s and 310/s", 240, function(30.0), |second| {
            160.0 - 150.0 * (second / 7200.0 * PI).cos()
        }),
        single(
            "ramp",
            "10/s to 400/s within an hour, half an hour there, and back",
            120,
            function(40.0),
            |second| {
                let minute = second / 60.0;
                if minute < 60.0 {
                    10.0 + 6.5 * minute
                } else if minute < 90.0 {
                    400.0
                } else {
                    (400.0 - 13.0 * (minute - 90.0)).max(10.0)
                }
            },
        ),
        Trace {
            nodes: chain(&[1.0, 1.0, 1.0, 1.0]),
            ..single(
                "chain of five",
                "all asleep; 100/s for ten of forty minutes",
                120,
                function(25.0),
                |second| {
                    if second % 2400.0 >= 600.0 && second % 2400.0 < 1200.0 { 100.0 } else { 0.0 }
                },
            )
        },
        Trace {
            nodes: vec![
                Spec { outputs: vec![(1, 2.0), (2, 1.0), (3, 0.5)], ..function(20.0) },
                function(20.0),
                Spec { work_seconds: 0.1, ..function(30.0) },
                function(15.0),
            ],
            ..single(
                "fan-out",
                "20/s and 100/s in turns, twice, once and half as many messages",
                120,
                function(20.0),
                |second| {
                    if second % 2400.0 < 1200.0 { 20.0 } else { 100.0 }
                },
            )
        },
        single(
            "hot key",
            "Key_Shared, a third of the messages has one key; 20/s, for twenty minutes 90/s",
            120,
            Spec { lanes: 64, hot_share: 0.33, ..function(20.0) },
            |second| if between(second, 30.0, 50.0) { 90.0 } else { 20.0 },
        ),
        single(
            "slow sink",
            "its database does 80/s at most; 50/s, for fifteen minutes 120/s",
            120,
            Spec { work_seconds: 0.1, parallel: Some(8.0), is_synchronous: false, ..function(20.0) },
            |second| if between(second, 30.0, 45.0) { 120.0 } else { 50.0 },
        ),
        single("flapping producer", "200/s for one of three minutes", 120, function(15.0), |second| {
            if second % 180.0 < 60.0 { 200.0 } else { 0.0 }
        }),
        Trace {
            away: Some((minutes(40), minutes(46))),
            ..single(
                "broker away",
                "150/s; no broker for six minutes",
                120,
                Spec { initial: 8, ..function(30.0) },
                |_| 150.0,
            )
        },
    ]
}

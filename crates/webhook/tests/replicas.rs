//! A model of several replicas and API servers with a clock of its own: whatever the order in which they act, are
//! late, and start anew, what is served is valid and trusted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

use std::time::Duration;

use function_mesh_webhook::authority::certificate::Moment;
use function_mesh_webhook::authority::held::Held;
use function_mesh_webhook::authority::step::{Plan, Seen, Step, next, take};
use proptest::prelude::*;

const BEGIN: Moment = Duration::from_secs(1_900_000_000);
/// Seconds between two moments of the model.
const TICK: u64 = 5;
const GRACE: u64 = 30;

fn plan() -> Plan {
    let (certificate, authority) = (Duration::from_mins(10), Duration::from_mins(30));
    Plan { names: ["a".to_owned()].into(), certificate, authority, grace: Duration::from_secs(GRACE) }
}

#[derive(Default)]
struct Replica {
    known: Option<Held>,
    trusted: Option<(String, Moment)>,
    signing: Option<(String, Moment)>,
}

#[derive(Default)]
struct World {
    secret: Option<Held>,
    /// The bundle of the configurations, and what it was since when.
    bundles: Vec<(Moment, String)>,
    steps: Vec<Step>,
}

impl Replica {
    /// A round, which may end after each write, as if the program were killed then.
    fn act(&mut self, world: &mut World, now: Moment, ends_early: bool) {
        let plan = plan();
        if let Some(held) = world.secret.clone() {
            let authority = held.authority.certificate.pem().to_owned();
            if held.serving.as_ref().is_some_and(|serving| serving.certificate.is_valid(now)) {
                if self.signing.as_ref().is_none_or(|(before, _)| *before != authority) {
                    self.signing = Some((authority, now));
                }
                self.known = Some(held.clone());
            }
            let trusted = held.trusted();
            if world.bundles.last().is_some_and(|(_, bundle)| *bundle == trusted) {
                if self.trusted.as_ref().is_none_or(|(before, _)| *before != trusted) {
                    self.trusted = Some((trusted, now));
                }
            } else {
                self.trusted = None;
                world.bundles.push((now, trusted));
                if ends_early {
                    return;
                }
            }
        }
        let held = world.secret.as_ref();
        let same = |held: &Held| {
            self.trusted
                .as_ref()
                .filter(|(text, _)| *text == held.trusted())
                .map(|(_, since)| now.saturating_sub(*since))
        };
        let signs = |held: &Held| {
            let own = held.authority.certificate.pem();
            self.signing.as_ref().filter(|(text, _)| text == own).map(|(_, since)| now.saturating_sub(*since))
        };
        let seen = Seen { trusted: held.and_then(same), signing: held.and_then(signs).unwrap_or_default() };
        let step = next(held, now, seen, &plan);
        if matches!(step, Step::Wait(_)) {
            return;
        }
        world.steps.push(step);
        let held = take(step, held, self.known.as_ref(), now, &plan).unwrap();
        world.secret = Some(held.clone());
        if !ends_early {
            self.known = Some(held);
        }
    }
}

/// What happens to one replica at one moment.
#[derive(Clone, Copy, Debug)]
enum Event {
    Acts,
    EndsEarly,
    IsLate,
    StartsAnew,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => Just(Event::Acts),
        2 => Just(Event::EndsEarly),
        4 => Just(Event::IsLate),
        1 => Just(Event::StartsAnew),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_is_valid_and_trusted(
        events in proptest::collection::vec([event(), event(), event()], 1000),
        emptied in proptest::option::of(100..900_usize),
        delay in 0..=GRACE / TICK - 3,
    ) {
        let (mut world, mut now) = (World::default(), BEGIN);
        let mut replicas = [Replica::default(), Replica::default(), Replica::default()];
        // How long each has not acted: one that is away for longer than the grace cannot know what is served.
        let (mut late, mut was_emptied) = ([0_u64; 3], false);
        for (round, events) in events.into_iter().enumerate() {
            now += Duration::from_secs(TICK);
            for ((replica, event), late) in replicas.iter_mut().zip(events).zip(&mut late) {
                match event {
                    Event::IsLate if *late < 2 => { *late += 1; continue }
                    Event::StartsAnew => *replica = Replica::default(),
                    _ => {}
                }
                *late = 0;
                let ends_early = matches!(event, Event::EndsEarly);
                replica.act(&mut world, now, ends_early);
                if ends_early {
                    *replica = Replica::default();
                }
            }
            let is_known = |replica: &Replica| replica.known.is_some() && replica.known == world.secret;
            if emptied.is_some_and(|from| round >= from) && !was_emptied && replicas.iter().all(is_known) {
                (world.secret, was_emptied) = (None, true);
                // Somebody has to know what was there; if all begin anew, so does everything.
                replicas[0].act(&mut world, now, false);
            }
            // API servers learn of a bundle after a while; before the first one nothing can be trusted.
            let learnt = now.saturating_sub(Duration::from_secs(delay * TICK));
            let Some((_, view)) = world.bundles.iter().rev().find(|(since, _)| *since <= learnt) else { continue };
            for served in replicas.iter().filter_map(|replica| replica.known.as_ref()) {
                let is_valid = served.serving.as_ref().is_some_and(|serving| serving.certificate.is_valid(now));
                prop_assert!(is_valid, "expired after {:?}", now.saturating_sub(BEGIN));
                prop_assert!(
                    view.contains(served.authority.certificate.pem()),
                    "not trusted after {:?}: {:?}", now.saturating_sub(BEGIN), world.steps
                );
            }
        }
        let switches = world.steps.iter().filter(|step| **step == Step::Switch).count();
        prop_assert!(switches >= 3, "{:?}", world.steps);
        let made = world.steps.iter().filter(|step| **step == Step::All).count();
        prop_assert!(made <= 2, "{:?}", world.steps);
    }
}

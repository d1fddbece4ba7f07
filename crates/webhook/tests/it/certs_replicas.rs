//! A model of three replicas and the API servers with a simulated clock: in any order of reconciles, delays and
//! restarts, every served certificate is valid and trusted.

use std::time::Duration;

use function_mesh_webhook::certs::certificate::UnixTime;
use function_mesh_webhook::certs::rotation::{Observed, Rotation, RotationPolicy, apply, next_rotation};
use function_mesh_webhook::certs::secret::CertBundle;
use proptest::prelude::*;

const BEGIN: UnixTime = Duration::from_secs(1_900_000_000);
/// Seconds per round of the model.
const TICK: u64 = 5;
const PROPAGATION_DELAY: u64 = 30;

fn policy() -> RotationPolicy {
    RotationPolicy {
        dns_names: ["a".to_owned()].into(),
        certificate_validity: Duration::from_mins(10),
        ca_validity: Duration::from_mins(30),
        propagation_delay: Duration::from_secs(PROPAGATION_DELAY),
    }
}

#[derive(Default)]
struct Replica {
    last_served: Option<CertBundle>,
    in_sync: Option<(String, UnixTime)>,
    current_ca: Option<(String, UnixTime)>,
}

#[derive(Default)]
struct Cluster {
    secret: Option<CertBundle>,
    /// History of the CA bundle in the webhook configurations.
    ca_bundles: Vec<(UnixTime, String)>,
    rotations: Vec<Rotation>,
}

impl Replica {
    /// A reconcile, which a crash may end after the first write.
    fn reconcile(&mut self, cluster: &mut Cluster, now: UnixTime, crashes: bool) {
        let policy = policy();
        if let Some(bundle) = cluster.secret.clone() {
            let ca = bundle.ca.certificate.pem().to_owned();
            if bundle.serving.as_ref().is_some_and(|serving| serving.certificate.is_valid(now)) {
                if self.current_ca.as_ref().is_none_or(|(before, _)| *before != ca) {
                    self.current_ca = Some((ca, now));
                }
                self.last_served = Some(bundle.clone());
            }
            let ca_bundle = bundle.ca_bundle();
            if cluster.ca_bundles.last().is_some_and(|(_, current)| *current == ca_bundle) {
                if self.in_sync.as_ref().is_none_or(|(before, _)| *before != ca_bundle) {
                    self.in_sync = Some((ca_bundle, now));
                }
            } else {
                self.in_sync = None;
                cluster.ca_bundles.push((now, ca_bundle));
                if crashes {
                    return;
                }
            }
        }
        let bundle = cluster.secret.as_ref();
        let in_sync_for = |bundle: &CertBundle| {
            self.in_sync
                .as_ref()
                .filter(|(text, _)| *text == bundle.ca_bundle())
                .map(|(_, since)| now.saturating_sub(*since))
        };
        let current_ca_for = |bundle: &CertBundle| {
            let own = bundle.ca.certificate.pem();
            let current = self.current_ca.as_ref().filter(|(text, _)| text == own);
            current.map(|(_, since)| now.saturating_sub(*since))
        };
        let observed = Observed {
            in_sync_for: bundle.and_then(in_sync_for),
            current_ca_for: bundle.and_then(current_ca_for).unwrap_or_default(),
        };
        let rotation = next_rotation(bundle, now, observed, &policy);
        if matches!(rotation, Rotation::Wait(_)) {
            return;
        }
        cluster.rotations.push(rotation);
        let bundle = apply(rotation, bundle, self.last_served.as_ref(), now, &policy).unwrap();
        cluster.secret = Some(bundle.clone());
        if !crashes {
            self.last_served = Some(bundle);
        }
    }
}

/// What happens to one replica in one round.
#[derive(Clone, Copy, Debug)]
enum Event {
    Reconciles,
    Crashes,
    IsDelayed,
    Restarts,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => Just(Event::Reconciles),
        2 => Just(Event::Crashes),
        4 => Just(Event::IsDelayed),
        1 => Just(Event::Restarts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn served_certificates_are_valid_and_trusted(
        events in proptest::collection::vec([event(), event(), event()], 1000),
        emptied in proptest::option::of(100..900_usize),
        delay in 0..=PROPAGATION_DELAY / TICK - 3,
    ) {
        let (mut cluster, mut now) = (Cluster::default(), BEGIN);
        let mut replicas = [Replica::default(), Replica::default(), Replica::default()];
        // Rounds that each replica was delayed: beyond the propagation delay it cannot know what others serve.
        let (mut delayed, mut was_emptied) = ([0_u64; 3], false);
        for (round, events) in events.into_iter().enumerate() {
            now += Duration::from_secs(TICK);
            for ((replica, event), delayed) in replicas.iter_mut().zip(events).zip(&mut delayed) {
                match event {
                    Event::IsDelayed if *delayed < 2 => { *delayed += 1; continue }
                    Event::Restarts => *replica = Replica::default(),
                    _ => {}
                }
                *delayed = 0;
                let crashes = matches!(event, Event::Crashes);
                replica.reconcile(&mut cluster, now, crashes);
                if crashes {
                    *replica = Replica::default();
                }
            }
            let serves_secret =
                |replica: &Replica| replica.last_served.is_some() && replica.last_served == cluster.secret;
            if emptied.is_some_and(|from| round >= from) && !was_emptied && replicas.iter().all(serves_secret) {
                (cluster.secret, was_emptied) = (None, true);
                // One replica must remember the bundle; if all restarted, a bootstrap would be correct.
                replicas[0].reconcile(&mut cluster, now, false);
            }
            // API servers observe a bundle with a delay; before the first one they trust nothing.
            let observed = now.saturating_sub(Duration::from_secs(delay * TICK));
            let view = cluster.ca_bundles.iter().rev().find(|(since, _)| *since <= observed);
            let Some((_, view)) = view else { continue };
            for served in replicas.iter().filter_map(|replica| replica.last_served.as_ref()) {
                let is_valid = served.serving.as_ref().is_some_and(|serving| serving.certificate.is_valid(now));
                prop_assert!(is_valid, "expired after {:?}", now.saturating_sub(BEGIN));
                prop_assert!(
                    view.contains(served.ca.certificate.pem()),
                    "not trusted after {:?}: {:?}", now.saturating_sub(BEGIN), cluster.rotations
                );
            }
        }
        let count = |wanted| cluster.rotations.iter().filter(|rotation| **rotation == wanted).count();
        prop_assert!(count(Rotation::PromoteCa) >= 3, "{:?}", cluster.rotations);
        prop_assert!(count(Rotation::Bootstrap) <= 2, "{:?}", cluster.rotations);
    }
}

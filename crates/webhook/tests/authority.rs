//! The authority without a cluster: what is read is checked, each step leads on, and no order of events serves
//! what is not trusted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says so when it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use function_mesh_webhook::authority::certificate::{Authority, Moment};
use function_mesh_webhook::authority::held::{Found, Held};
use function_mesh_webhook::authority::step::{Plan, Seen, Step, next, take};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;
use proptest::sample::Index;

const BEGIN: Moment = Duration::from_secs(1_900_000_000);
const LONG: Seen = Seen { trusted: Some(Duration::MAX), signing: Duration::MAX };

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn plan() -> Plan {
    let names = ["webhook.ns.svc".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()].into();
    Plan { names, certificate: secs(600), authority: secs(1800), grace: secs(30) }
}

fn first() -> Held {
    take(Step::All, None, None, BEGIN, &plan()).unwrap()
}

fn secret(data: BTreeMap<String, ByteString>) -> Secret {
    Secret { data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

fn read(held: &Held) -> Held {
    let Found::Held(held, faults) = Found::read(&secret(held.data())) else { panic!("not ours") };
    assert_eq!(faults, Vec::<String>::new());
    *held
}

/// All states that there are, in the order in which they come.
fn states() -> Vec<(Held, Moment)> {
    let (plan, first) = (plan(), first());
    let due = first.authority.certificate.renewal();
    let renewed = take(Step::Certificate, Some(&first), None, due, &plan).unwrap();
    let introduced = take(Step::Introduce, Some(&renewed), None, due, &plan).unwrap();
    let switched = take(Step::Switch, Some(&introduced), None, due, &plan).unwrap();
    let dropped = take(Step::Drop, Some(&switched), None, due, &plan).unwrap();
    vec![(first, BEGIN), (renewed, due), (introduced, due), (switched, due), (dropped, due)]
}

#[test]
fn what_is_written_is_read_again() {
    for (held, _) in states() {
        assert_eq!(read(&held), held);
        let trusted = held.trusted();
        let count = 1 + usize::from(held.next.is_some()) + usize::from(held.previous.is_some());
        assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), count);
        assert_eq!(held.data()["ca.crt"].0, trusted.as_bytes());
    }
}

#[test]
fn no_key_is_printed() {
    for (held, _) in states() {
        let text = format!("{held:?}{:?}", Found::read(&secret(held.data())));
        for line in held.authority.key().pem().lines() {
            assert!(!text.contains(line), "{text}");
        }
        assert!(text.contains("Key(..)") && !text.contains("PRIVATE"), "{text}");
    }
}

#[test]
fn each_state_leads_to_the_next() {
    let (plan, states) = (plan(), states());
    let none = Seen::default();
    let [(first, _), (renewed, due), (introduced, _), (switched, _), (dropped, _)] = &states[..] else {
        panic!("five states")
    };
    let own = first.serving.as_ref().unwrap().certificate.renewal();
    assert_eq!(next(None, BEGIN, none, &plan), Step::All);
    assert_eq!(next(Some(first), BEGIN, none, &plan), Step::Wait(own));
    assert_eq!(next(Some(first), own, none, &plan), Step::Certificate);
    assert_eq!(next(Some(renewed), *due, none, &plan), Step::Introduce);
    let until = |held: &Held| Step::Wait(held.serving.as_ref().unwrap().certificate.renewal());
    // The next authority signs when it has been trusted everywhere for the grace, not when it might be.
    for seen in [none, Seen { trusted: Some(secs(29)), signing: Duration::MAX }] {
        assert_eq!(next(Some(introduced), *due, seen, &plan), until(introduced));
    }
    let seen = Seen { trusted: Some(secs(30)), signing: Duration::ZERO };
    assert_eq!(next(Some(introduced), *due, seen, &plan), Step::Switch);
    assert_eq!(introduced.trusted(), switched.trusted(), "nothing changes for those who trust");
    assert_eq!(next(Some(switched), *due, seen, &plan), until(switched));
    assert_eq!(next(Some(switched), *due, LONG, &plan), Step::Drop);
    assert_eq!(next(Some(dropped), *due, LONG, &plan), until(dropped));
}

#[test]
fn what_expired_while_nobody_looked_is_made_anew() {
    let plan = plan();
    for (held, _) in states() {
        let late = BEGIN + secs(100_000);
        assert_eq!(next(Some(&held), late, Seen::default(), &plan), Step::All);
        let anew = take(Step::All, Some(&held), None, late, &plan).unwrap();
        assert!(anew.serving.unwrap().certificate.is_valid(late));
        // A clock that goes back a year finds certificates of the future.
        let early = BEGIN.checked_sub(secs(100_000)).unwrap();
        assert_eq!(next(Some(&held), early, Seen::default(), &plan), Step::All);
    }
    let [(_, _), (renewed, due), (introduced, _), ..] = &states()[..] else { panic!("states") };
    let end = renewed.serving.as_ref().unwrap().certificate.not_after;
    assert_eq!(next(Some(renewed), end, Seen::default(), &plan), Step::Certificate);
    // Nobody takes what the old one signed, so the next one is not held back any more.
    let end = introduced.authority.certificate.not_after;
    assert_eq!(next(Some(introduced), end, Seen::default(), &plan), Step::Switch);
    let switched = take(Step::Switch, Some(introduced), None, end, &plan).unwrap();
    assert_eq!(switched.previous, None, "expired");
    assert!(*due < end);
}

#[test]
fn a_certificate_that_ends_with_its_authority_is_not_renewed_over_and_over() {
    let plan = Plan { certificate: secs(600), authority: secs(700), ..plan() };
    let mut held = take(Step::All, None, None, BEGIN, &plan).unwrap();
    let mut steps = 0;
    for second in 0..700 {
        let now = BEGIN + secs(second);
        let step = next(Some(&held), now, Seen::default(), &plan);
        if let Step::Wait(until) = step {
            assert!(until > now);
        } else {
            steps += 1;
            held = take(step, Some(&held), None, now, &plan).unwrap();
        }
    }
    assert!(steps < 5, "{steps}");
}

#[test]
fn a_shorter_life_takes_effect_at_once_and_once() {
    let (long, held) = (plan(), first());
    let short = Plan { certificate: secs(60), ..long };
    assert_eq!(next(Some(&held), BEGIN, LONG, &short), Step::Certificate);
    let after = take(Step::Certificate, Some(&held), None, BEGIN, &short).unwrap();
    assert!(matches!(next(Some(&after), BEGIN, LONG, &short), Step::Wait(_)));
}

#[test]
fn replicas_that_want_different_names_and_lives_do_not_take_turns() {
    let one = plan();
    let two = Plan { names: ["other.ns.svc".to_owned()].into(), certificate: secs(60), ..plan() };
    for (first, second) in [(&one, &two), (&two, &one)] {
        let mut held = take(Step::All, None, None, BEGIN, first).unwrap();
        for plan in [second, first, second, first] {
            let step = next(Some(&held), BEGIN, LONG, plan);
            held = take(step, Some(&held), None, BEGIN, plan).unwrap();
        }
        for plan in [&one, &two] {
            assert!(matches!(next(Some(&held), BEGIN, LONG, plan), Step::Wait(_)), "they take turns");
        }
    }
}

#[test]
fn replicas_that_want_different_names_do_not_take_turns() {
    let (one, two) = (plan(), Plan { names: ["other.ns.svc".to_owned()].into(), ..plan() });
    let mut held = first();
    for step in 0..4 {
        for plan in [&one, &two] {
            match next(Some(&held), BEGIN, LONG, plan) {
                Step::Certificate if step == 0 => {
                    held = read(&take(Step::Certificate, Some(&held), None, BEGIN, plan).unwrap());
                }
                other => assert!(matches!(other, Step::Wait(_)), "{other:?}"),
            }
        }
    }
    let later = held.serving.as_ref().unwrap().certificate.renewal();
    let held = take(Step::Certificate, Some(&held), None, later, &one).unwrap();
    assert_eq!(held.serving.unwrap().names, one.names, "names that nobody wants any more are gone");
}

#[test]
fn an_emptied_secret_brings_a_new_authority_in_good_order() {
    let (plan, known) = (plan(), first());
    let again = take(Step::All, None, Some(&known), BEGIN, &plan).unwrap();
    assert_eq!((&again.authority, &again.serving), (&known.authority, &known.serving));
    assert_eq!(next(Some(&again), BEGIN, LONG, &plan), Step::Switch);
    let late = known.authority.certificate.not_after;
    let anew = take(Step::All, None, Some(&known), late, &plan).unwrap();
    assert_ne!(anew.authority, known.authority, "what expired is of no use");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let of = |entries: &[(&str, &[u8])]| {
        let entry = |(name, bytes): &(&str, &[u8])| ((*name).to_owned(), ByteString(bytes.to_vec()));
        entries.iter().map(entry).collect::<BTreeMap<_, _>>()
    };
    let foreign = |secret: &Secret| matches!(Found::read(secret), Found::Foreign(_));
    assert!(foreign(&secret(of(&[("password", b"x")]))));
    assert!(
        foreign(&secret(of(&[("tls.crt", b"x"), ("tls.key", b"y"), ("ca.crt", b"z")]))),
        "cert-manager's"
    );
    let mut more = first().data();
    more.extend(of(&[("note", b"mine")]));
    assert!(foreign(&secret(more)));
    let token = Some("kubernetes.io/service-account-token".to_owned());
    assert!(foreign(&Secret { type_: token, ..secret(of(&[])) }));
    assert!(foreign(&Secret { immutable: Some(true), ..secret(of(&[])) }));
    for empty in [of(&[]), of(&[("tls.crt", b""), ("tls.key", b"")]), of(&[("note", b"")])] {
        assert_eq!(Found::read(&secret(empty)), Found::Empty);
    }
    assert_eq!(Found::read(&Secret::default()), Found::Empty);
}

#[test]
fn parts_that_do_not_belong_together_are_found_out() {
    let (one, two) = (first(), first());
    let mix = |names: &[&str]| {
        let (mut data, other) = (one.data(), two.data());
        for name in names {
            data.insert((*name).to_owned(), other[*name].clone());
        }
        Found::read(&secret(data))
    };
    for broken in [&["authority.crt"][..], &["authority.key"]] {
        assert!(matches!(mix(broken), Found::Broken(_)));
    }
    for served in
        [&["tls.crt"][..], &["tls.key"], &["tls.crt", "tls.key"], &["authority.crt", "authority.key"]]
    {
        let Found::Held(held, faults) = mix(served) else { panic!("{served:?}") };
        assert!(held.serving.is_none() && faults.len() == 1, "{faults:?}");
        assert_eq!(next(Some(&held), BEGIN, LONG, &plan()), Step::Certificate);
    }
    // An authority that somebody else made signs under another name than we would.
    let pair = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    assert!(Authority::read(certificate.as_bytes(), key.as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn garbage_is_never_served(
        state in 0..5_usize,
        entry in any::<Index>(),
        place in any::<Index>(),
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            Just(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
            Just(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec()),
        ],
        whole in any::<bool>(),
    ) {
        let (held, now) = states().swap_remove(state);
        let mut data = held.data();
        let name = entry.get(&data.keys().cloned().collect::<Vec<_>>()).clone();
        let value = &mut data.get_mut(&name).unwrap().0;
        if whole {
            *value = bytes;
        } else {
            let at = place.index(value.len());
            value.splice(at.., bytes);
        }
        match Found::read(&secret(data)) {
            // What is left over is either as it was or gone.
            Found::Held(found, _) => {
                prop_assert_eq!(&found.authority, &held.authority);
                prop_assert!(found.serving.is_none() || found.serving == held.serving);
                prop_assert!(found.next.is_none() || found.next == held.next);
                prop_assert!(found.previous.is_none() || found.previous == held.previous);
                let step = next(Some(&found), now, Seen::default(), &plan());
                let after = take(step, Some(&found), None, now, &plan()).unwrap();
                let Found::Held(_, faults) = Found::read(&secret(after.data())) else { panic!("ours") };
                prop_assert!(faults.is_empty());
            }
            Found::Broken(_) => prop_assert!(name.starts_with("authority")),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

//! The CA rotation without a cluster: the Secret is verified, and each state leads to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use function_mesh_webhook::certs::certificate::{CertificateAuthority, UnixTime};
use function_mesh_webhook::certs::rotation::{Observed, Rotation, RotationPolicy, apply, next_rotation};
use function_mesh_webhook::certs::secret::{CertBundle, SecretState};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;
use proptest::sample::Index;

const BEGIN: UnixTime = Duration::from_secs(1_900_000_000);
const FOREVER: Observed = Observed { in_sync_for: Some(Duration::MAX), current_ca_for: Duration::MAX };

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn policy() -> RotationPolicy {
    let dns_names = ["webhook.ns.svc".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()].into();
    RotationPolicy {
        dns_names,
        certificate_validity: secs(600),
        ca_validity: secs(1800),
        propagation_delay: secs(30),
    }
}

fn first() -> CertBundle {
    apply(Rotation::Bootstrap, None, None, BEGIN, &policy()).unwrap()
}

fn secret(data: BTreeMap<String, ByteString>) -> Secret {
    Secret { data: Some(data), type_: Some("Opaque".to_owned()), ..Secret::default() }
}

fn read(bundle: &CertBundle) -> CertBundle {
    let SecretState::Valid(bundle, errors) = SecretState::parse(&secret(bundle.to_secret_data())) else {
        panic!("not owned")
    };
    assert_eq!(errors, Vec::<String>::new());
    *bundle
}

/// All states of a rotation, in order.
fn states() -> Vec<(CertBundle, UnixTime)> {
    let (policy, first) = (policy(), first());
    let due = first.ca.certificate.renewal_time();
    let renewed = apply(Rotation::IssueLeaf, Some(&first), None, due, &policy).unwrap();
    let added = apply(Rotation::AddCa, Some(&renewed), None, due, &policy).unwrap();
    let promoted = apply(Rotation::PromoteCa, Some(&added), None, due, &policy).unwrap();
    let retired = apply(Rotation::RetireCa, Some(&promoted), None, due, &policy).unwrap();
    vec![(first, BEGIN), (renewed, due), (added, due), (promoted, due), (retired, due)]
}

#[test]
fn secret_round_trips() {
    for (bundle, _) in states() {
        assert_eq!(read(&bundle), bundle);
        let trusted = bundle.ca_bundle();
        let count = 1 + usize::from(bundle.next_ca.is_some()) + usize::from(bundle.previous_ca.is_some());
        assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), count);
        assert_eq!(bundle.to_secret_data()["ca.crt"].0, trusted.as_bytes());
    }
}

#[test]
fn debug_output_has_no_private_key() {
    for (bundle, _) in states() {
        let text = format!("{bundle:?}{:?}", SecretState::parse(&secret(bundle.to_secret_data())));
        for line in bundle.ca.key().pem().lines() {
            assert!(!text.contains(line), "{text}");
        }
        assert!(text.contains("PrivateKey(..)") && !text.contains("PRIVATE"), "{text}");
    }
}

#[test]
fn states_follow_the_rotation() {
    let (policy, states) = (policy(), states());
    let none = Observed::default();
    let [(first, _), (renewed, due), (added, _), (promoted, _), (retired, _)] = &states[..] else {
        panic!("five states")
    };
    let own = first.serving.as_ref().unwrap().certificate.renewal_time();
    assert_eq!(next_rotation(None, BEGIN, none, &policy), Rotation::Bootstrap);
    assert_eq!(next_rotation(Some(first), BEGIN, none, &policy), Rotation::Wait(own));
    assert_eq!(next_rotation(Some(first), own, none, &policy), Rotation::IssueLeaf);
    assert_eq!(next_rotation(Some(renewed), *due, none, &policy), Rotation::AddCa);
    let until =
        |bundle: &CertBundle| Rotation::Wait(bundle.serving.as_ref().unwrap().certificate.renewal_time());
    // The next CA signs after its bundle was in sync for the propagation delay, not before.
    for observed in [none, Observed { in_sync_for: Some(secs(29)), current_ca_for: Duration::MAX }] {
        assert_eq!(next_rotation(Some(added), *due, observed, &policy), until(added));
    }
    let observed = Observed { in_sync_for: Some(secs(30)), current_ca_for: Duration::ZERO };
    assert_eq!(next_rotation(Some(added), *due, observed, &policy), Rotation::PromoteCa);
    assert_eq!(added.ca_bundle(), promoted.ca_bundle(), "promotion leaves the bundle unchanged");
    assert_eq!(next_rotation(Some(promoted), *due, observed, &policy), until(promoted));
    assert_eq!(next_rotation(Some(promoted), *due, FOREVER, &policy), Rotation::RetireCa);
    assert_eq!(next_rotation(Some(retired), *due, FOREVER, &policy), until(retired));
}

#[test]
fn expired_certificates_are_replaced() {
    let policy = policy();
    for (bundle, _) in states() {
        let late = BEGIN + secs(100_000);
        assert_eq!(next_rotation(Some(&bundle), late, Observed::default(), &policy), Rotation::Bootstrap);
        let fresh = apply(Rotation::Bootstrap, Some(&bundle), None, late, &policy).unwrap();
        assert!(fresh.serving.unwrap().certificate.is_valid(late));
        // A clock that jumps back sees certificates that are not valid yet.
        let early = BEGIN.checked_sub(secs(100_000)).unwrap();
        assert_eq!(next_rotation(Some(&bundle), early, Observed::default(), &policy), Rotation::Bootstrap);
    }
    let [(_, _), (renewed, due), (added, _), ..] = &states()[..] else { panic!("states") };
    let end = renewed.serving.as_ref().unwrap().certificate.not_after;
    assert_eq!(next_rotation(Some(renewed), end, Observed::default(), &policy), Rotation::IssueLeaf);
    // No client accepts the expired CA, so the next one is promoted without delay.
    let end = added.ca.certificate.not_after;
    assert_eq!(next_rotation(Some(added), end, Observed::default(), &policy), Rotation::PromoteCa);
    let promoted = apply(Rotation::PromoteCa, Some(added), None, end, &policy).unwrap();
    assert_eq!(promoted.previous_ca, None, "expired");
    assert!(*due < end);
}

#[test]
fn leaf_that_expires_with_its_ca_is_not_reissued_in_a_loop() {
    let policy = RotationPolicy { certificate_validity: secs(600), ca_validity: secs(700), ..policy() };
    let mut bundle = apply(Rotation::Bootstrap, None, None, BEGIN, &policy).unwrap();
    let mut writes = 0;
    for second in 0..700 {
        let now = BEGIN + secs(second);
        let rotation = next_rotation(Some(&bundle), now, Observed::default(), &policy);
        if let Rotation::Wait(until) = rotation {
            assert!(until > now);
        } else {
            writes += 1;
            bundle = apply(rotation, Some(&bundle), None, now, &policy).unwrap();
        }
    }
    assert!(writes < 5, "{writes}");
}

#[test]
fn shorter_validity_reissues_the_leaf_once() {
    let (long, bundle) = (policy(), first());
    let short = RotationPolicy { certificate_validity: secs(60), ..long };
    assert_eq!(next_rotation(Some(&bundle), BEGIN, FOREVER, &short), Rotation::IssueLeaf);
    let after = apply(Rotation::IssueLeaf, Some(&bundle), None, BEGIN, &short).unwrap();
    assert!(matches!(next_rotation(Some(&after), BEGIN, FOREVER, &short), Rotation::Wait(_)));
}

#[test]
fn replicas_with_other_names_and_validity_agree() {
    let one = policy();
    let two = RotationPolicy {
        dns_names: ["other.ns.svc".to_owned()].into(),
        certificate_validity: secs(60),
        ..policy()
    };
    for (first, second) in [(&one, &two), (&two, &one)] {
        let mut bundle = apply(Rotation::Bootstrap, None, None, BEGIN, first).unwrap();
        for policy in [second, first, second, first] {
            let rotation = next_rotation(Some(&bundle), BEGIN, FOREVER, policy);
            bundle = apply(rotation, Some(&bundle), None, BEGIN, policy).unwrap();
        }
        for policy in [&one, &two] {
            assert!(
                matches!(next_rotation(Some(&bundle), BEGIN, FOREVER, policy), Rotation::Wait(_)),
                "they keep reissuing"
            );
        }
    }
}

#[test]
fn replicas_with_other_names_agree() {
    let (one, two) = (policy(), RotationPolicy { dns_names: ["other.ns.svc".to_owned()].into(), ..policy() });
    let mut bundle = first();
    for round in 0..4 {
        for policy in [&one, &two] {
            match next_rotation(Some(&bundle), BEGIN, FOREVER, policy) {
                Rotation::IssueLeaf if round == 0 => {
                    bundle = read(&apply(Rotation::IssueLeaf, Some(&bundle), None, BEGIN, policy).unwrap());
                }
                other => assert!(matches!(other, Rotation::Wait(_)), "{other:?}"),
            }
        }
    }
    let later = bundle.serving.as_ref().unwrap().certificate.renewal_time();
    let bundle = apply(Rotation::IssueLeaf, Some(&bundle), None, later, &one).unwrap();
    assert_eq!(bundle.serving.unwrap().dns_names, one.dns_names, "unused names are dropped at renewal");
}

#[test]
fn emptied_secret_rotates_to_a_new_ca() {
    let (policy, known) = (policy(), first());
    let again = apply(Rotation::Bootstrap, None, Some(&known), BEGIN, &policy).unwrap();
    assert_eq!((&again.ca, &again.serving), (&known.ca, &known.serving));
    assert_eq!(next_rotation(Some(&again), BEGIN, FOREVER, &policy), Rotation::PromoteCa);
    let late = known.ca.certificate.not_after;
    let fresh = apply(Rotation::Bootstrap, None, Some(&known), late, &policy).unwrap();
    assert_ne!(fresh.ca, known.ca, "an expired CA is not kept");
}

#[test]
fn secrets_of_other_programs_are_not_owned() {
    let of = |entries: &[(&str, &[u8])]| {
        let entry = |(name, bytes): &(&str, &[u8])| ((*name).to_owned(), ByteString(bytes.to_vec()));
        entries.iter().map(entry).collect::<BTreeMap<_, _>>()
    };
    let is_not_owned = |secret: &Secret| matches!(SecretState::parse(secret), SecretState::NotOwned(_));
    assert!(is_not_owned(&secret(of(&[("password", b"x")]))));
    assert!(
        is_not_owned(&secret(of(&[("tls.crt", b"x"), ("tls.key", b"y"), ("ca.crt", b"z")]))),
        "cert-manager's"
    );
    let mut more = first().to_secret_data();
    more.extend(of(&[("note", b"mine")]));
    assert!(is_not_owned(&secret(more)));
    let token = Some("kubernetes.io/service-account-token".to_owned());
    assert!(is_not_owned(&Secret { type_: token, ..secret(of(&[])) }));
    assert!(is_not_owned(&Secret { immutable: Some(true), ..secret(of(&[])) }));
    for empty in [of(&[]), of(&[("tls.crt", b""), ("tls.key", b"")]), of(&[("note", b"")])] {
        assert_eq!(SecretState::parse(&secret(empty)), SecretState::Empty);
    }
    assert_eq!(SecretState::parse(&Secret::default()), SecretState::Empty);
}

#[test]
fn mismatched_entries_are_dropped() {
    let (one, two) = (first(), first());
    let mix = |names: &[&str]| {
        let (mut data, other) = (one.to_secret_data(), two.to_secret_data());
        for name in names {
            data.insert((*name).to_owned(), other[*name].clone());
        }
        SecretState::parse(&secret(data))
    };
    for invalid in [&["current-ca.crt"][..], &["current-ca.key"]] {
        assert!(matches!(mix(invalid), SecretState::Invalid(_)));
    }
    for served in
        [&["tls.crt"][..], &["tls.key"], &["tls.crt", "tls.key"], &["current-ca.crt", "current-ca.key"]]
    {
        let SecretState::Valid(bundle, errors) = mix(served) else { panic!("{served:?}") };
        assert!(bundle.serving.is_none() && errors.len() == 1, "{errors:?}");
        assert_eq!(next_rotation(Some(&bundle), BEGIN, FOREVER, &policy()), Rotation::IssueLeaf);
    }
    // The subject of a foreign CA differs from the one that issued certificates would name.
    let pair = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
    let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    assert!(CertificateAuthority::parse(certificate.as_bytes(), key.as_bytes()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn corrupt_secrets_are_never_served(
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
        let (bundle, now) = states().swap_remove(state);
        let mut data = bundle.to_secret_data();
        let name = entry.get(&data.keys().cloned().collect::<Vec<_>>()).clone();
        let value = &mut data.get_mut(&name).unwrap().0;
        if whole {
            *value = bytes;
        } else {
            let at = place.index(value.len());
            value.splice(at.., bytes);
        }
        match SecretState::parse(&secret(data)) {
            // Each entry is either unchanged or dropped.
            SecretState::Valid(found, _) => {
                prop_assert_eq!(&found.ca, &bundle.ca);
                prop_assert!(found.serving.is_none() || found.serving == bundle.serving);
                prop_assert!(found.next_ca.is_none() || found.next_ca == bundle.next_ca);
                prop_assert!(found.previous_ca.is_none() || found.previous_ca == bundle.previous_ca);
                let rotation = next_rotation(Some(&found), now, Observed::default(), &policy());
                let after = apply(rotation, Some(&found), None, now, &policy()).unwrap();
                let SecretState::Valid(_, errors) = SecretState::parse(&secret(after.to_secret_data())) else { panic!("not owned") };
                prop_assert!(errors.is_empty());
            }
            SecretState::Invalid(_) => prop_assert!(name.starts_with("current-ca")),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

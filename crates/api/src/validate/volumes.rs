//! The rules of volumes and their mounts.

use std::collections::{BTreeMap, BTreeSet};

use crate::component::SpecView;
use crate::quantity;
use crate::types::{CryptoConfig, PulsarMessaging, VolumeClaimRetention};

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;

/// Beginnings and ends of the names of volumes that the operator makes, beside those named by a Secret.
const OPERATORS_OWN: [&str; 2] = ["filebeat-logs", "downloader-volume"];
const LOG_CONFIGURATION: &str = "-log-conf";

/// Checks the volumes of the component whose specification stands at `path`.
pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let mut volumes = BTreeSet::new();
    for (index, volume) in view.common.pod.iter().flat_map(|pod| pod.volumes.iter().flatten()).enumerate() {
        if !volumes.insert(volume.name.as_str()) {
            let at = path.field("pod.volumes").item(index, &volume.name).field("name");
            findings.deny(at, format!("{:?} is the name of an earlier volume already", volume.name));
        }
    }
    let mut claims = BTreeSet::new();
    if let Some(function) = view.function() {
        for (index, claim) in function.volume_claim_templates.iter().flatten().enumerate() {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let at = path.field("volumeClaimTemplates").item(index, name);
            if name.is_empty() {
                findings.deny(at.field("metadata.name"), "must be the name by which `volumeMounts` knows it");
            } else if !claims.insert(name) {
                let message = format!("{name:?} is the name of an earlier claim already");
                findings.deny(at.field("metadata.name"), message);
            }
            let wanted = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
            let wanted = wanted.and_then(|resources| resources.requests.as_ref());
            for (resource, amount) in wanted.into_iter().flatten() {
                if quantity::value(amount).is_none() {
                    let message = format!("{:?} is no amount; write for example `10Gi`", amount.0);
                    findings.deny(at.field("spec.resources.requests").field(resource), message);
                }
            }
        }
        if let Some(policy) = &function.persistent_volume_claim_retention_policy {
            retention(path, policy, findings);
        }
    }
    key_folders(path, view, findings);
    if findings.wants_advice() {
        mounts(path, view, &volumes, &claims, findings);
    }
}

/// In a folder only one volume can be mounted. With the other one's keys missing, messages would be lost, or sent
/// unencrypted.
fn key_folders(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let mut folders = BTreeMap::new();
    for (at, crypto) in cryptos(path, view) {
        for (index, key) in crypto.crypto_secrets.iter().flatten().enumerate() {
            let Some(folder) = key.as_volume.as_deref().filter(|folder| !folder.is_empty()) else { continue };
            let source = (&key.secret_name, &key.secret_key);
            let (name, held) = *folders.entry(folder).or_insert(source);
            if (name, held) != source {
                let at = at.field("cryptoSecrets").index(index).field("asVolume");
                let message = format!(
                    "holds key {held:?} of Secret {name:?} already; mount each key in a folder of its own"
                );
                findings.deny(at, message);
            }
        }
    }
}

/// What encrypts what is written, and decrypts what is read, each with its place.
fn cryptos<'a>(path: &FieldPath, view: &SpecView<'a>) -> impl Iterator<Item = (FieldPath, &'a CryptoConfig)> {
    let producer = view.output().and_then(|output| output.producer_conf.as_ref()?.crypto_config.as_ref());
    let producer = producer.map(|crypto| (path.field("output.producerConf.cryptoConfig"), crypto));
    let consumers = view.input().and_then(|input| input.source_specs.as_ref());
    let at = path.field("input.sourceSpecs");
    let consumers = consumers.into_iter().flatten().filter_map(move |(topic, config)| {
        Some((at.key(topic).field("cryptoConfig"), config.crypto_config.as_ref()?))
    });
    producer.into_iter().chain(consumers)
}

/// What is known of mounts by their names alone, which is advice.
fn mounts(
    path: &FieldPath,
    view: &SpecView<'_>,
    volumes: &BTreeSet<&str>,
    claims: &BTreeSet<&str>,
    findings: &mut Collector,
) {
    let secrets = secrets(path, view);
    let mut paths = BTreeSet::new();
    for (index, mount) in view.common.volume_mounts.iter().enumerate() {
        let at = path.field("volumeMounts").index(index);
        let name = mount.name.as_str();
        let is_known = volumes.contains(name)
            || claims.contains(name)
            || OPERATORS_OWN.contains(&name)
            || name.ends_with(LOG_CONFIGURATION)
            || begins_with_any(name, &secrets);
        if !is_known {
            let message = format!("{name:?} names no volume of `pod.volumes` or `volumeClaimTemplates`");
            findings.warn(at.field("name"), message);
        }
        if !paths.insert(mount.mount_path.as_str()) {
            let message = format!("{:?} is mounted already; this mount has no effect", mount.mount_path);
            findings.warn(at.field("mountPath"), message);
        }
    }
}

/// Whether a name begins with one of these. A longer name than 253 bytes is none of a volume.
fn begins_with_any(name: &str, beginnings: &BTreeSet<String>) -> bool {
    !beginnings.is_empty()
        && (1..=name.len().min(253))
            .filter_map(|end| name.get(..end))
            .any(|beginning| beginnings.contains(beginning))
}

fn retention(path: &FieldPath, policy: &VolumeClaimRetention, findings: &mut Collector) {
    for (value, rule) in [
        (&policy.when_deleted, &rules::CLAIMS_WHEN_DELETED),
        (&policy.when_scaled, &rules::CLAIMS_WHEN_SCALED),
    ] {
        if !matches!(value.as_deref(), None | Some("" | "Retain" | "Delete")) {
            findings.deny_rule(path, rule);
        }
    }
}

/// Beginnings of the names of volumes that hold Secrets of the component.
fn secrets(path: &FieldPath, view: &SpecView<'_>) -> BTreeSet<String> {
    let of_pulsar = |pulsar: &PulsarMessaging| {
        let tls = pulsar.tls_config.as_ref().and_then(|tls| tls.cert_secret_name.clone());
        let auths = [&pulsar.auth_config, &pulsar.cleanup_auth_config];
        let oauth2 = auths.into_iter().flatten().filter_map(|auth| auth.oauth2_config.as_ref());
        oauth2.map(|oauth2| oauth2.key_secret_name.clone()).chain(tls).collect::<Vec<_>>()
    };
    let pulsars = [view.common.pulsar, view.common.pulsar_package_service];
    let keys = cryptos(path, view).flat_map(|(_, crypto)| crypto.crypto_secrets.iter().flatten());
    let keys = keys.map(|key| key.secret_name.clone());
    pulsars
        .into_iter()
        .flatten()
        .flat_map(of_pulsar)
        .chain(keys)
        .filter(|name| !name.is_empty())
        // In the name of a volume a dot becomes a dash.
        .map(|name| name.to_lowercase().replace('.', "-"))
        .collect()
}

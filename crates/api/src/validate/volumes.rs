//! Rules of volumes and volume mounts.

use std::collections::{BTreeMap, BTreeSet};

use crate::component::SpecView;
use crate::quantity;
use crate::types::{CryptoConfig, PulsarMessaging, VolumeClaimRetention};

use super::collector::Collector;
use super::rules;
use super::violation::FieldPath;

/// Names of volumes that the operator creates, other than those of Secrets.
const OPERATOR_VOLUMES: [&str; 2] = ["filebeat-logs", "downloader-volume"];
/// Suffix of the volumes that the operator creates for log configurations.
const LOG_CONFIG_SUFFIX: &str = "-log-conf";

/// Validates the volumes of the component spec at `path`.
pub(super) fn check(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let mut volumes = BTreeSet::new();
    for (index, volume) in view.common.pod.iter().flat_map(|pod| pod.volumes.iter().flatten()).enumerate() {
        if !volumes.insert(volume.name.as_str()) {
            let at = path.field("pod.volumes").item(index, &volume.name).field("name");
            findings.deny(at, format!("duplicate volume name {:?}", volume.name));
        }
    }
    let mut claims = BTreeSet::new();
    if let Some(function) = view.function() {
        for (index, claim) in function.volume_claim_templates.iter().flatten().enumerate() {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let at = path.field("volumeClaimTemplates").item(index, name);
            if name.is_empty() {
                findings.deny(at.field("metadata.name"), "must be set, since `volumeMounts` refer to it");
            } else if !claims.insert(name) {
                // Kubernetes accepts it: pods get one claim of that name.
                let message = format!("duplicate claim name {name:?}; only one of them is used");
                findings.warn(at.field("metadata.name"), message);
            }
            let wanted = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
            let wanted = wanted.and_then(|resources| resources.requests.as_ref());
            for (resource, quantity) in wanted.into_iter().flatten() {
                if quantity::value(quantity).is_none() {
                    let message = format!("invalid quantity {:?}; use for example `10Gi`", quantity.0);
                    findings.deny(at.field("spec.resources.requests").field(resource), message);
                }
            }
        }
        if let Some(policy) = &function.persistent_volume_claim_retention_policy {
            retention(path, policy, findings);
        }
    }
    key_mount_paths(path, view, findings);
    if findings.wants_warnings() {
        mounts(path, view, &volumes, &claims, findings);
    }
}

/// Only one volume can be mounted at a path. Without the other key, messages would be lost or sent unencrypted.
fn key_mount_paths(path: &FieldPath, view: &SpecView<'_>, findings: &mut Collector) {
    let mut folders = BTreeMap::new();
    for (at, crypto) in crypto_configs(path, view) {
        for (index, key) in crypto.crypto_secrets.iter().flatten().enumerate() {
            let Some(folder) = key.as_volume.as_deref().filter(|folder| !folder.is_empty()) else { continue };
            let source = (&key.secret_name, &key.secret_key);
            let (name, held) = *folders.entry(folder).or_insert(source);
            if (name, held) != source {
                let at = at.field("cryptoSecrets").index(index).field("asVolume");
                let message = format!(
                    "key {held:?} of Secret {name:?} is already mounted here; use a separate path for each key"
                );
                findings.deny(at, message);
            }
        }
    }
}

/// The crypto configurations of the producer and the consumers, each with its path.
fn crypto_configs<'a>(
    path: &FieldPath,
    view: &SpecView<'a>,
) -> impl Iterator<Item = (FieldPath, &'a CryptoConfig)> {
    let producer = view.output().and_then(|output| output.producer_conf.as_ref()?.crypto_config.as_ref());
    let producer = producer.map(|crypto| (path.field("output.producerConf.cryptoConfig"), crypto));
    let consumers = view.input().and_then(|input| input.source_specs.as_ref());
    let at = path.field("input.sourceSpecs");
    let consumers = consumers.into_iter().flatten().filter_map(move |(topic, config)| {
        Some((at.key(topic).field("cryptoConfig"), config.crypto_config.as_ref()?))
    });
    producer.into_iter().chain(consumers)
}

/// Warns of unknown volumes and duplicate mount paths. Names alone do not prove a mistake.
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
            || OPERATOR_VOLUMES.contains(&name)
            || name.ends_with(LOG_CONFIG_SUFFIX)
            || starts_with_any(name, &secrets);
        if !is_known {
            let message =
                format!("unknown volume {name:?}: neither in `pod.volumes` nor in `volumeClaimTemplates`");
            findings.warn(at.field("name"), message);
        }
        if !paths.insert(mount.mount_path.as_str()) {
            let message = format!("duplicate mount path {:?}; this mount is ignored", mount.mount_path);
            findings.warn(at.field("mountPath"), message);
        }
    }
}

/// Whether a name starts with one of the prefixes. Volume names are no longer than 253 bytes.
fn starts_with_any(name: &str, prefixes: &BTreeSet<String>) -> bool {
    !prefixes.is_empty()
        && (1..=name.len().min(253)).filter_map(|end| name.get(..end)).any(|prefix| prefixes.contains(prefix))
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

/// Prefixes of the names of volumes for Secrets of the component.
fn secrets(path: &FieldPath, view: &SpecView<'_>) -> BTreeSet<String> {
    let of_pulsar = |pulsar: &PulsarMessaging| {
        let tls = pulsar.tls_config.as_ref().and_then(|tls| tls.cert_secret_name.clone());
        let auths = [&pulsar.auth_config, &pulsar.cleanup_auth_config];
        let oauth2 = auths.into_iter().flatten().filter_map(|auth| auth.oauth2_config.as_ref());
        oauth2.map(|oauth2| oauth2.key_secret_name.clone()).chain(tls).collect::<Vec<_>>()
    };
    let pulsars = [view.common.pulsar, view.common.pulsar_package_service];
    let keys = crypto_configs(path, view).flat_map(|(_, crypto)| crypto.crypto_secrets.iter().flatten());
    let keys = keys.map(|key| key.secret_name.clone());
    pulsars
        .into_iter()
        .flatten()
        .flat_map(of_pulsar)
        .chain(keys)
        .filter(|name| !name.is_empty())
        // Volume names contain `-` instead of `.`.
        .map(|name| name.to_lowercase().replace('.', "-"))
        .collect()
}

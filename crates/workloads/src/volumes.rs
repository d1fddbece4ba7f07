//! Volumes of a component's pods, and where its containers mount them.

use function_mesh_api::types::{CryptoConfig, CryptoSecret};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, Volume, VolumeMount,
};

use crate::connection::{self, Connection};
use crate::context::{Context, Runtime};
use crate::{download, log, names, volume_names};

const LOGS: &str = "filebeat-logs";
/// Folder of the log files that the sidecar reads.
const LOG_FOLDER: &str = "/pulsar/logs/functions";

/// All volumes, each source once. Those that are added have provisional names until the pod is complete.
pub(crate) fn of(context: &Context<'_>, connection: &Connection<'_>, with_download: bool) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = context.pod.volumes.iter().flatten().cloned().collect();
    if context.logs_to_files() {
        volumes.push(Volume {
            name: logs(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        });
    }
    volumes.extend(connection.volumes());
    let keys = crypto_secrets(context);
    volumes.extend(keys.map(|key| connection::secret_volume(&key.secret_name, &key.secret_key)));
    volumes.extend(log_config(context).map(|config| config.volume()));
    volumes.extend(context.package_connection().iter().flat_map(Connection::volumes));
    if with_download {
        volumes.extend(download::volumes(context));
    }
    distinct(volumes, |volume| volume.name.clone())
}

/// Mounts of the container that runs the component.
pub(crate) fn main_mounts(context: &Context<'_>) -> Vec<VolumeMount> {
    let mut mounts = mounts(context, &context.connection());
    mounts.extend(context.package_connection().iter().flat_map(Connection::mounts));
    mounts.extend(download::mount(context));
    distinct_mounts(mounts)
}

/// Mounts of a container that works for the component in its place.
pub(crate) fn cleanup_mounts(
    context: &Context<'_>,
    connection: &Connection<'_>,
    volumes: &[Volume],
) -> Vec<VolumeMount> {
    let mut mounts = distinct_mounts(mounts(context, connection));
    // A volume from a claim template belongs to a replica; no other pod can have it.
    mounts.retain(|mount| volumes.iter().any(|volume| volume.name == mount.name));
    mounts
}

/// Mounts of the sidecar that reads the log files.
pub(crate) fn filebeat_mounts(context: &Context<'_>) -> Vec<VolumeMount> {
    let mut mounts = context.common.volume_mounts.to_vec();
    mounts.push(mount(&logs(), LOG_FOLDER));
    mounts.extend(context.connection().mounts());
    distinct_mounts(mounts)
}

fn mounts(context: &Context<'_>, connection: &Connection<'_>) -> Vec<VolumeMount> {
    let mut mounts = context.common.volume_mounts.to_vec();
    if context.logs_to_files() {
        mounts.push(mount(&logs(), LOG_FOLDER));
    }
    mounts.extend(connection.mounts());
    let keys = crypto_secrets(context);
    mounts.extend(keys.filter_map(|key| {
        let folder = key.as_volume.as_deref().filter(|folder| !folder.is_empty())?;
        Some(connection::secret_mount(&key.secret_name, &key.secret_key, folder))
    }));
    mounts.extend(log_config(context).map(|config| mount(&config.name, config.folder)));
    mounts
}

fn logs() -> String {
    volume_names::provisional(LOGS, &["logs"])
}

fn mount(name: &str, folder: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: folder.to_owned(), ..VolumeMount::default() }
}

fn distinct<T, K: PartialEq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        if kept.iter().all(|other| key(other) != key(&item)) {
            kept.push(item);
        }
    }
    kept
}

/// A path can be mounted only once.
fn distinct_mounts(mounts: Vec<VolumeMount>) -> Vec<VolumeMount> {
    distinct(mounts, |mount| mount.mount_path.clone())
}

/// Secrets with keys: of the producer, then of the consumers.
fn crypto_secrets<'a>(context: &Context<'a>) -> impl Iterator<Item = &'a CryptoSecret> {
    let producer = context.view.output().and_then(|output| output.producer_conf.as_ref());
    let producer = producer.and_then(|producer| producer.crypto_config.as_ref());
    let consumers = context.view.input().and_then(|input| input.source_specs.as_ref());
    let consumers = consumers.into_iter().flatten().filter_map(|(_, config)| config.crypto_config.as_ref());
    let secrets = |config: &'a CryptoConfig| config.crypto_secrets.iter().flatten();
    producer.into_iter().chain(consumers).flat_map(secrets)
}

/// A log configuration of the user's own, as a volume.
struct LogConfig<'a> {
    name: String,
    config_map: &'a str,
    key: &'a str,
    file: &'static str,
    folder: &'static str,
}

impl LogConfig<'_> {
    fn volume(&self) -> Volume {
        let path = self.file.rsplit('/').next().unwrap_or(self.file).to_owned();
        Volume {
            name: self.name.clone(),
            config_map: Some(ConfigMapVolumeSource {
                name: self.config_map.to_owned(),
                items: Some(vec![KeyToPath { key: self.key.to_owned(), path, mode: None }]),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        }
    }
}

fn log_config<'a>(context: &Context<'a>) -> Option<LogConfig<'a>> {
    let (config, file, folder, kind) = match context.runtime? {
        Runtime::Java(java) => {
            let config = java.log.as_ref();
            (config, log::java::file(config), log::java::FOLDER, "java")
        }
        Runtime::Python(python) => (python.log.as_ref(), log::python::FILE, log::python::FOLDER, "python"),
        Runtime::Go(_) | Runtime::Generic(_) => return None,
    };
    let own = config?.log_config.as_ref()?;
    let natural = names::volume(&format!("{}-{kind}-log-conf", own.name));
    let name = volume_names::provisional(&natural, &["config map", &own.name, &own.key]);
    Some(LogConfig { name, config_map: &own.name, key: &own.key, file, folder })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare_function, function, of as look};
    use serde_json::{Value, json};

    fn all(context: &Context<'_>) -> Vec<Volume> {
        crate::pod::template(context).spec.unwrap().volumes.unwrap()
    }

    fn volumes(context: &Context<'_>) -> Vec<String> {
        all(context).into_iter().map(|volume| volume.name).collect()
    }

    fn paths(context: &Context<'_>) -> Vec<String> {
        main_mounts(context).into_iter().map(|mount| mount.mount_path).collect()
    }

    fn secured(secret: &str) -> Value {
        let oauth2 = json!({ "keySecretName": secret, "keySecretKey": "auth.json", "issuerUrl": "i", "audience": "a" });
        json!({
            "pulsarConfig": "p", "authConfig": { "oauth2Config": oauth2 },
            "tlsConfig": { "certSecretName": secret, "certSecretKey": "ca.crt" },
        })
    }

    #[test]
    fn every_secret_is_a_volume_once_and_mounted_where_it_is_looked_for() {
        let crypto = |folder: &str| {
            let key = json!({ "secretName": "keys", "secretKey": "k_1", "asVolume": folder });
            json!({ "cryptoKeyReaderClassName": "K", "encryptionKeys": ["e"], "cryptoSecrets": [key] })
        };
        let function = function(json!({
            "pulsar": secured("s"), "pulsarPackageService": secured("s"),
            "input": { "sourceSpecs": { "in": { "cryptoConfig": crypto("/in") } } },
            "output": { "producerConf": { "cryptoConfig": crypto("/out") } },
        }));
        assert_eq!(look(&function, volumes), ["s-ca-crt", "s-auth-json", "keys-k-1"]);
        let expected = [
            "/etc/tls/pulsar-functions",
            "/etc/oauth2",
            "/out",
            "/in",
            "/etc/tls/pulsar-functions-package-service",
            "/etc/oauth2-package-service",
        ];
        assert_eq!(look(&function, paths), expected);
    }

    #[test]
    fn a_users_volume_takes_the_place_of_an_added_one_of_its_name() {
        let function = function(json!({
            "logTopicAgent": "sidecar", "pod": { "volumes": [{ "name": LOGS, "hostPath": { "path": "/x" } }] },
        }));
        let all = look(&function, all);
        assert_eq!(all.len(), 1);
        assert!(all[0].host_path.is_some());
    }

    #[test]
    fn a_log_configuration_is_mounted_as_the_file_that_the_runner_reads() {
        let log =
            json!({ "logConfig": { "name": "My.Logs", "key": "k" }, "javaLog4JConfigFileType": "yaml" });
        let java = function(json!({ "java": { "log": log } }));
        let python = bare_function(json!({ "python": { "py": "f", "log": log } }));
        for (function, name, path, folder) in [
            (java, "my-logs-java-log-conf", "java_instance_log4j.yaml", "/pulsar/conf/java-log/"),
            (python, "my-logs-python-log-conf", "python_instance_logging.ini", "/pulsar/conf/python-log/"),
        ] {
            let volume = look(&function, all).remove(0);
            let item = volume.config_map.unwrap().items.unwrap().remove(0);
            assert_eq!((volume.name.as_str(), item.key.as_str(), item.path.as_str()), (name, "k", path));
            assert_eq!(look(&function, paths), [folder]);
        }
    }

    /// A TLS certificate and OAuth2 credentials whose Secrets and keys make the same name.
    #[test]
    fn s11_each_secret_is_mounted_where_it_belongs() {
        let oauth2 = json!({ "keySecretName": "pulsar", "keySecretKey": "auth-key", "issuerUrl": "i", "audience": "a" });
        let function = function(json!({ "pulsar": {
            "pulsarConfig": "p", "authConfig": { "oauth2Config": oauth2 },
            "tlsConfig": { "enabled": true, "certSecretName": "pulsar-auth", "certSecretKey": "key" },
        } }));
        let pod = look(&function, |context| crate::pod::template(context).spec.unwrap());
        let volumes = pod.volumes.unwrap();
        let at = |path: &str| {
            let mounts = pod.containers[0].volume_mounts.as_ref().unwrap();
            let mount = mounts.iter().find(|mount| mount.mount_path == path).unwrap();
            let volume = volumes.iter().find(|volume| volume.name == mount.name).unwrap();
            volume.secret.as_ref().unwrap().secret_name.clone().unwrap()
        };
        assert_eq!(
            (at("/etc/tls/pulsar-functions"), at("/etc/oauth2")),
            ("pulsar-auth".into(), "pulsar".into())
        );
        assert_eq!(volumes[0].name, "pulsar-auth-key");
    }
}

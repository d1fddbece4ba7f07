//! Volumes and volume mounts of a component.

use function_mesh_api::types::{CryptoConfig, CryptoSecret};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, Volume, VolumeMount,
};

use crate::connection::{self, Connection};
use crate::context::{Context, Runtime};
use crate::{download, log, names, volume_names};

const LOGS: &str = "filebeat-logs";
/// Mount path of the log files that the sidecar reads.
const LOG_PATH: &str = "/pulsar/logs/functions";

/// Builds all volumes, without duplicates. Volumes of the operator have provisional names until the pod is complete.
pub(crate) fn build_volumes(
    context: &Context<'_>,
    connection: &Connection<'_>,
    with_download: bool,
) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = context.pod.volumes.iter().flatten().cloned().collect();
    if context.logs_to_files() {
        volumes.push(Volume {
            name: log_volume_name(),
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
        volumes.extend(download::build_volumes(context));
    }
    dedup_by_key(volumes, |volume| volume.name.clone())
}

/// Builds the mounts of the main container.
pub(crate) fn build_main_mounts(context: &Context<'_>) -> Vec<VolumeMount> {
    let mut mounts = shared_mounts(context, &context.connection());
    mounts.extend(context.package_connection().iter().flat_map(Connection::mounts));
    mounts.extend(download::build_mount(context));
    dedup_mounts(mounts)
}

/// Builds the mounts of the clean-up Job.
pub(crate) fn build_cleanup_mounts(
    context: &Context<'_>,
    connection: &Connection<'_>,
    volumes: &[Volume],
) -> Vec<VolumeMount> {
    let mut mounts = dedup_mounts(shared_mounts(context, connection));
    // A volume of a claim template belongs to a replica, so the Job cannot mount it.
    mounts.retain(|mount| volumes.iter().any(|volume| volume.name == mount.name));
    mounts
}

/// Builds the mounts of the Filebeat sidecar.
pub(crate) fn build_filebeat_mounts(context: &Context<'_>) -> Vec<VolumeMount> {
    let mut mounts = context.common.volume_mounts.to_vec();
    mounts.push(mount(&log_volume_name(), LOG_PATH));
    mounts.extend(context.connection().mounts());
    dedup_mounts(mounts)
}

fn shared_mounts(context: &Context<'_>, connection: &Connection<'_>) -> Vec<VolumeMount> {
    let mut mounts = context.common.volume_mounts.to_vec();
    if context.logs_to_files() {
        mounts.push(mount(&log_volume_name(), LOG_PATH));
    }
    mounts.extend(connection.mounts());
    let keys = crypto_secrets(context);
    mounts.extend(keys.filter_map(|key| {
        let folder = key.as_volume.as_deref().filter(|folder| !folder.is_empty())?;
        Some(connection::secret_mount(&key.secret_name, &key.secret_key, folder))
    }));
    mounts.extend(log_config(context).map(|config| mount(&config.name, config.path)));
    mounts
}

fn log_volume_name() -> String {
    volume_names::provisional(LOGS, &["logs"])
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn dedup_by_key<T, K: PartialEq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        if kept.iter().all(|other| key(other) != key(&item)) {
            kept.push(item);
        }
    }
    kept
}

/// Keeps the first mount at each path.
fn dedup_mounts(mounts: Vec<VolumeMount>) -> Vec<VolumeMount> {
    dedup_by_key(mounts, |mount| mount.mount_path.clone())
}

/// Secrets with encryption keys: of the producer, then of the consumers.
fn crypto_secrets<'a>(context: &Context<'a>) -> impl Iterator<Item = &'a CryptoSecret> {
    let producer = context.view.output().and_then(|output| output.producer_conf.as_ref());
    let producer = producer.and_then(|producer| producer.crypto_config.as_ref());
    let consumers = context.view.input().and_then(|input| input.source_specs.as_ref());
    let consumers = consumers.into_iter().flatten().filter_map(|(_, config)| config.crypto_config.as_ref());
    let secrets = |config: &'a CryptoConfig| config.crypto_secrets.iter().flatten();
    producer.into_iter().chain(consumers).flat_map(secrets)
}

/// The user's log configuration, as a volume.
struct LogConfig<'a> {
    name: String,
    config_map: &'a str,
    key: &'a str,
    file: &'static str,
    path: &'static str,
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
    let (config, file, path, kind) = match context.runtime? {
        Runtime::Java(java) => {
            let config = java.log.as_ref();
            (config, log::java::file(config), log::java::DIRECTORY, "java")
        }
        Runtime::Python(python) => (python.log.as_ref(), log::python::FILE, log::python::DIRECTORY, "python"),
        Runtime::Go(_) | Runtime::Generic(_) => return None,
    };
    let own = config?.log_config.as_ref()?;
    let natural = names::volume(&format!("{}-{kind}-log-conf", own.name));
    let name = volume_names::provisional(&natural, &["config map", &own.name, &own.key]);
    Some(LogConfig { name, config_map: &own.name, key: &own.key, file, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare_function, function, with_defaults};
    use serde_json::{Value, json};

    fn all(context: &Context<'_>) -> Vec<Volume> {
        crate::pod::build_template(context).spec.unwrap().volumes.unwrap()
    }

    fn volumes(context: &Context<'_>) -> Vec<String> {
        all(context).into_iter().map(|volume| volume.name).collect()
    }

    fn paths(context: &Context<'_>) -> Vec<String> {
        build_main_mounts(context).into_iter().map(|mount| mount.mount_path).collect()
    }

    fn secured(secret: &str) -> Value {
        let oauth2 = json!({ "keySecretName": secret, "keySecretKey": "auth.json", "issuerUrl": "i", "audience": "a" });
        json!({
            "pulsarConfig": "p", "authConfig": { "oauth2Config": oauth2 },
            "tlsConfig": { "certSecretName": secret, "certSecretKey": "ca.crt" },
        })
    }

    #[test]
    fn each_secret_is_one_volume_with_its_mounts() {
        let crypto = |folder: &str| {
            let key = json!({ "secretName": "keys", "secretKey": "k_1", "asVolume": folder });
            json!({ "cryptoKeyReaderClassName": "K", "encryptionKeys": ["e"], "cryptoSecrets": [key] })
        };
        let function = function(json!({
            "pulsar": secured("s"), "pulsarPackageService": secured("s"),
            "input": { "sourceSpecs": { "in": { "cryptoConfig": crypto("/in") } } },
            "output": { "producerConf": { "cryptoConfig": crypto("/out") } },
        }));
        assert_eq!(with_defaults(&function, volumes), ["s-ca-crt", "s-auth-json", "keys-k-1"]);
        let expected = [
            "/etc/tls/pulsar-functions",
            "/etc/oauth2",
            "/out",
            "/in",
            "/etc/tls/pulsar-functions-package-service",
            "/etc/oauth2-package-service",
        ];
        assert_eq!(with_defaults(&function, paths), expected);
    }

    #[test]
    fn user_volume_replaces_operator_volume() {
        let function = function(json!({
            "logTopicAgent": "sidecar", "pod": { "volumes": [{ "name": LOGS, "hostPath": { "path": "/x" } }] },
        }));
        let all = with_defaults(&function, all);
        assert_eq!(all.len(), 1);
        assert!(all[0].host_path.is_some());
    }

    #[test]
    fn log_config_map_is_mounted_as_the_runner_file() {
        let log =
            json!({ "logConfig": { "name": "My.Logs", "key": "k" }, "javaLog4JConfigFileType": "yaml" });
        let java = function(json!({ "java": { "log": log } }));
        let python = bare_function(json!({ "python": { "py": "f", "log": log } }));
        for (function, name, path, folder) in [
            (java, "my-logs-java-log-conf", "java_instance_log4j.yaml", "/pulsar/conf/java-log/"),
            (python, "my-logs-python-log-conf", "python_instance_logging.ini", "/pulsar/conf/python-log/"),
        ] {
            let volume = with_defaults(&function, all).remove(0);
            let item = volume.config_map.unwrap().items.unwrap().remove(0);
            assert_eq!((volume.name.as_str(), item.key.as_str(), item.path.as_str()), (name, "k", path));
            assert_eq!(with_defaults(&function, paths), [folder]);
        }
    }

    /// A TLS certificate and OAuth2 credentials with the same natural volume name.
    #[test]
    fn equal_natural_names_mount_the_right_secrets() {
        let oauth2 = json!({ "keySecretName": "pulsar", "keySecretKey": "auth-key", "issuerUrl": "i", "audience": "a" });
        let function = function(json!({ "pulsar": {
            "pulsarConfig": "p", "authConfig": { "oauth2Config": oauth2 },
            "tlsConfig": { "enabled": true, "certSecretName": "pulsar-auth", "certSecretKey": "key" },
        } }));
        let pod = with_defaults(&function, |context| crate::pod::build_template(context).spec.unwrap());
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

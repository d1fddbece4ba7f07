//! The init container that downloads a package, with its volume.

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, EnvVar, Volume, VolumeMount};

use crate::admin::{AdminTool, PulsarAdmin};
use crate::connection::Connection;
use crate::container_parts;
use crate::context::{Context, Runtime};
use crate::images;
use crate::optional::none_if_empty;
use crate::volume_names;

use super::script::{HOME, connection, fetch, is_http, path};

const VOLUME: &str = "downloader-volume";
/// Mount path of the volume in the init container.
const MOUNT_PATH: &str = "/pulsar/download";

/// The download of a component in an init container.
struct Download<'a> {
    runtime: Runtime<'a>,
    location: &'a str,
    connection: Connection<'a>,
}

impl<'a> Download<'a> {
    fn new(context: &Context<'a>) -> Option<Self> {
        let runtime = context.runtime.filter(|_| context.settings.enable_init_containers)?;
        Some(Self { runtime, location: runtime.location()?, connection: connection(context) })
    }

    fn file_name(&self) -> &'a str {
        let file = self.runtime.file();
        file.rsplit('/').next().unwrap_or(file)
    }

    fn needs_pulsar(&self) -> bool {
        !is_http(self.location)
    }
}

fn volume_name() -> String {
    volume_names::provisional(VOLUME, &["download"])
}

/// Builds the init container that downloads the code. None without a download.
pub(crate) fn build_init_container(context: &Context<'_>) -> Option<Container> {
    let download = Download::new(context)?;
    let target = format!("{MOUNT_PATH}/{}", download.file_name());
    let admin = PulsarAdmin { tool: AdminTool::Pulsarctl, connection: download.connection };
    let mut mounts = vec![VolumeMount {
        name: volume_name(),
        mount_path: MOUNT_PATH.to_owned(),
        ..VolumeMount::default()
    }];
    if download.needs_pulsar() {
        mounts.extend(download.connection.mounts());
    }
    mounts.extend_from_slice(context.common.volume_mounts);
    Some(Container {
        name: "downloader".to_owned(),
        image: Some(images::downloader(context)),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(fetch(admin, true, download.location, &target).into_command("sh")),
        env: Some(vec![EnvVar { name: "HOME".to_owned(), value: Some("/tmp".to_owned()), value_from: None }]),
        env_from: none_if_empty(download.connection.env_from().collect()),
        // Init containers finish before the runner starts, so the effective request of the pod stays the same.
        resources: context.common.resources.cloned(),
        security_context: Some(container_parts::security_context()),
        volume_mounts: Some(mounts),
        ..Container::default()
    })
}

/// Builds the volumes of the download.
pub(crate) fn build_volumes(context: &Context<'_>) -> Vec<Volume> {
    let Some(download) = Download::new(context) else { return Vec::new() };
    let shared =
        Volume { name: volume_name(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
    let secrets = download.needs_pulsar().then(|| download.connection.volumes());
    secrets.into_iter().flatten().chain([shared]).collect()
}

/// Builds the mount of the download in the main container.
pub(crate) fn build_mount(context: &Context<'_>) -> Option<VolumeMount> {
    let download = Download::new(context)?;
    let path = path(context, download.runtime);
    let (folder, file) = path.rsplit_once('/')?;
    let (mount_path, sub_path) = if format!("{folder}/") == HOME {
        // A mount at `/pulsar` would hide Pulsar itself.
        (path.clone(), Some(file.to_owned()))
    } else {
        (folder.to_owned(), None)
    };
    Some(VolumeMount { name: volume_name(), mount_path, sub_path, ..VolumeMount::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use crate::testing::{bare_function, function, init_containers, script, sink, with_settings};
    use serde_json::json;

    #[test]
    fn no_location_means_no_download() {
        let function = function(json!({}));
        assert!(script(&function, &Settings::default()).starts_with("SHARD_ID="));
        assert_eq!(with_settings(&function, &init_containers(), build_init_container), None);
        assert!(with_settings(&function, &init_containers(), build_volumes).is_empty());
        assert_eq!(with_settings(&function, &init_containers(), build_mount), None);
    }

    #[test]
    fn init_container_and_runner_share_a_volume() {
        let spec = json!({
            "java": { "jar": "connectors/x.nar", "jarLocation": "sink://t/n/x@1" },
            "pulsarPackageService": {
                "pulsarConfig": "p", "tlsConfig": { "certSecretName": "c", "certSecretKey": "ca" },
            },
        });
        let sink = sink(spec);
        let container = with_settings(&sink, &init_containers(), build_init_container).unwrap();
        let command = container.command.unwrap().remove(2);
        assert!(
            command.contains(" packages download sink://t/n/x@1 --path /pulsar/download/x.nar 2>&1)"),
            "{command}"
        );
        assert!(command.contains("PACKAGE_webServiceURL"), "{command}");
        let paths: Vec<_> =
            container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path).collect();
        assert_eq!(paths, [MOUNT_PATH, "/etc/tls/pulsar-functions-package-service"]);
        assert_eq!(container.security_context, Some(container_parts::security_context()));
        assert!(container.resources.is_some());
        let mount = with_settings(&sink, &init_containers(), build_mount).unwrap();
        assert_eq!((mount.mount_path.as_str(), mount.sub_path), ("/pulsar/connectors", None));
        assert!(script(&sink, &init_containers()).starts_with("SHARD_ID="));
    }

    #[test]
    fn generic_runtime_downloads_like_others() {
        let function = |location: Option<&str>| {
            bare_function(json!({ "genericRuntime": {
                "functionFile": "f.js", "language": "nodejs", "functionFileLocation": location,
            } }))
        };
        let packaged = function(Some("https://h/f.js"));
        let mount = with_settings(&packaged, &init_containers(), super::build_mount).unwrap();
        assert_eq!((mount.mount_path.as_str(), mount.sub_path.as_deref()), ("/pulsar/f.js", Some("f.js")));
        assert!(with_settings(&packaged, &init_containers(), build_init_container).is_some());
        assert_eq!(with_settings(&function(None), &init_containers(), super::build_mount), None);
    }
}

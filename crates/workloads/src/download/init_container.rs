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

    /// The mount of the user that the file is in, which the init container has too.
    fn mount_of_user(&self, context: &Context<'a>) -> Option<&'a VolumeMount> {
        let file = path(context, self.runtime);
        let is_within = |mount: &&VolumeMount| {
            let rest = file.strip_prefix(mount.mount_path.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.starts_with('/')) && mount.read_only != Some(true)
        };
        context.common.volume_mounts.iter().find(is_within).filter(|_| context.is_second_edition())
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
    let target = match download.mount_of_user(context) {
        Some(_) => path(context, download.runtime),
        None => format!("{MOUNT_PATH}/{}", download.file_name()),
    };
    let admin = PulsarAdmin { tool: AdminTool::Pulsarctl, connection: download.connection, is_short: false };
    let shared =
        VolumeMount { name: volume_name(), mount_path: MOUNT_PATH.to_owned(), ..VolumeMount::default() };
    let mut mounts = Vec::from_iter(download.mount_of_user(context).is_none().then_some(shared));
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
    let shared = download.mount_of_user(context).is_none().then_some(shared);
    secrets.into_iter().flatten().chain(shared).collect()
}

/// Builds the mount of the download in the main container.
pub(crate) fn build_mount(context: &Context<'_>) -> Option<VolumeMount> {
    let download = Download::new(context)?;
    if download.mount_of_user(context).is_some() {
        return None;
    }
    let path = path(context, download.runtime);
    let (folder, file) = path.rsplit_once('/')?;
    let (mount_path, sub_path) = if folder.starts_with(HOME) {
        (folder.to_owned(), None)
    } else {
        // A mount at `/pulsar` would hide Pulsar itself, and at another folder what the image has there.
        (path.clone(), Some(file.to_owned()))
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
    fn package_goes_to_the_volume_of_the_user() {
        let rendered = |jar: &str, mount: serde_json::Value| {
            let function = function(json!({
                "java": { "jar": jar, "jarLocation": "function://t/n/f@1" }, "volumeMounts": [mount],
            }));
            let settings = init_containers();
            let container = with_settings(&function, &settings, build_init_container).unwrap();
            let command = container.command.unwrap().remove(2);
            let (_, target) = command.rsplit_once(" --path ").unwrap();
            let target = target.split(' ').next().unwrap().to_owned();
            let paths = container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path).collect();
            let mount = with_settings(&function, &settings, super::build_mount);
            let volumes = with_settings(&function, &settings, super::build_volumes).len();
            (target, paths, mount.map(|mount| (mount.mount_path, mount.sub_path)), volumes)
        };
        let at = |path: &str| json!({ "name": "v", "mountPath": path });
        for (jar, path) in
            [("/scratch/f.jar", "/scratch"), ("/scratch/a/f.jar", "/scratch/"), ("x/f.jar", "/pulsar/x")]
        {
            let target = if jar.starts_with('/') { jar.to_owned() } else { format!("{HOME}{jar}") };
            assert_eq!(rendered(jar, at(path)), (target, vec![path.to_owned()], None, 0), "{jar}");
        }
        // Elsewhere the operator's volume holds the file, and hides nothing of the image.
        let read_only = json!({ "name": "v", "mountPath": "/scratch", "readOnly": true });
        for mount in [at("/scrat"), at("/scratch/f.jar.d"), read_only] {
            let (target, paths, main, volumes) = rendered("/scratch/f.jar", mount.clone());
            assert_eq!(target, "/pulsar/download/f.jar", "{mount}");
            assert_eq!((Vec::len(&paths), volumes), (2, 1), "{mount}");
            assert_eq!(main, Some(("/scratch/f.jar".to_owned(), Some("f.jar".to_owned()))), "{mount}");
        }
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

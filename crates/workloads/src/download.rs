//! Packages: how a component's code comes into its container when it is not in the image.
//!
//! Either the runner's own container downloads it before it starts the runner, or an init container does, into
//! a volume that both mount.

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, EnvVar, Volume, VolumeMount};

use function_mesh_api::names::split_digest;

use crate::admin::{Admin, Program};
use crate::connection::Connection;
use crate::container;
use crate::context::{Context, Runtime};
use crate::images;
use crate::redact;
use crate::shell::{Command, Script};
use crate::volume_names;

const VOLUME: &str = "downloader-volume";
const FOLDER: &str = "/pulsar/download";
const HOME: &str = "/pulsar/";
/// Letters of a location that are told when it cannot be downloaded.
const LONGEST_SHOWN: usize = 150;

/// The download of a component, as an init container makes it.
struct Download<'a> {
    runtime: Runtime<'a>,
    location: &'a str,
    connection: Connection<'a>,
}

impl<'a> Download<'a> {
    fn of(context: &Context<'a>) -> Option<Self> {
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

fn connection<'a>(context: &Context<'a>) -> Connection<'a> {
    context.package_connection().unwrap_or_else(|| context.connection())
}

fn is_http(location: &str) -> bool {
    images::has_scheme(location, &["http://", "https://"])
}

/// Compares the digest of a file, its second argument, with its first one. What is not as it should be does not stay.
const VERIFY: &str = "found=$(sha256sum <\"$2\") && found=${found%% *} && test \"$found\" = \"$1\" || \
    { echo \"expected sha256 $1, found ${found:-none}; the file was replaced, or the digest is of another one\"; \
    rm -f \"$2\"; exit 1; }";

fn fetch(admin: Admin<'_>, has_wget: bool, location: &str, target: &str) -> Script {
    let (location, digest) = split_digest(location);
    let (script, command) = if is_http(location) && has_wget {
        (Script::default(), Command::new("wget").arg(location).option("-O", target))
    } else if images::is_package(location) {
        admin.command(["packages", "download", location, "--path", target])
    } else {
        admin.command(["functions", "download", "--path", location, "--destination-file", target])
    };
    let shown: String = redact::message(location).chars().take(LONGEST_SHOWN).collect();
    let script = script.run_or_tell(&command, &format!("cannot download {shown}:"));
    let Some(digest) = digest else { return script };
    let verify = Command::new("sh").args(["-c", VERIFY, "sh", &digest, target]);
    script.run_or_tell(&verify, &format!("{shown} is not the file that was asked for:"))
}

/// The download as the runner's own container makes it.
pub(crate) fn in_place(context: &Context<'_>, runtime: Runtime<'_>) -> Script {
    let Some(location) = runtime.location() else { return Script::default() };
    let (program, has_wget) = match runtime {
        Runtime::Generic(_) => (Program::Pulsarctl, true),
        Runtime::Java(_) | Runtime::Python(_) | Runtime::Go(_) => {
            (images::admin_program(context), images::has_wget(context))
        }
    };
    fetch(Admin { program, connection: connection(context) }, has_wget, location, runtime.file())
}

/// Path of the component's code in its container. What an init container downloads is mounted below `/pulsar`,
/// and a path that is not absolute begins there; one in the image stays where it is.
pub(crate) fn path(context: &Context<'_>, runtime: Runtime<'_>) -> String {
    let file = runtime.file();
    if !context.settings.enable_init_containers || file.is_empty() || file.starts_with(HOME) {
        return file.to_owned();
    }
    match file.strip_prefix('/') {
        None => format!("{HOME}{file}"),
        Some(below) if runtime.location().is_some() => format!("{HOME}{below}"),
        Some(_) => file.to_owned(),
    }
}

/// The init container that downloads the component's code.
pub(crate) fn init_container(context: &Context<'_>) -> Option<Container> {
    let download = Download::of(context)?;
    let target = format!("{FOLDER}/{}", download.file_name());
    let admin = Admin { program: Program::Pulsarctl, connection: download.connection };
    let mut mounts =
        vec![VolumeMount { name: volume_name(), mount_path: FOLDER.to_owned(), ..VolumeMount::default() }];
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
        env_from: container::some(download.connection.env_from().collect()),
        // It has ended before the runner begins, so the pod as a whole asks for no more by this.
        resources: context.common.resources.cloned(),
        security_context: Some(container::security_context()),
        volume_mounts: Some(mounts),
        ..Container::default()
    })
}

/// Volumes of the download.
pub(crate) fn volumes(context: &Context<'_>) -> Vec<Volume> {
    let Some(download) = Download::of(context) else { return Vec::new() };
    let shared =
        Volume { name: volume_name(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
    let secrets = download.needs_pulsar().then(|| download.connection.volumes());
    secrets.into_iter().flatten().chain([shared]).collect()
}

/// Where the runner's container finds what was downloaded.
pub(crate) fn mount(context: &Context<'_>) -> Option<VolumeMount> {
    let download = Download::of(context)?;
    let path = path(context, download.runtime);
    let (folder, file) = path.rsplit_once('/')?;
    let (mount_path, sub_path) = if format!("{folder}/") == HOME {
        // Mounting the folder would hide all of Pulsar.
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
    use crate::testing::{bare_function, function, init_containers, script, sink, with};
    use serde_json::json;

    #[test]
    fn an_address_cannot_end_the_command_early() {
        let location = "https://h/f.jar?a=1&b=2;rm -rf '/'";
        let spec = json!({ "imageHasGet": true, "java": { "jar": "f.jar", "jarLocation": location } });
        let script = script(&function(spec), &Settings::default());
        let quoted = r#"{ said=$(wget 'https://h/f.jar?a=1&b=2;rm -rf '"'"'/'"'"'' -O f.jar 2>&1) && "#;
        assert!(script.starts_with(quoted) && script.contains("; } && SHARD_ID="), "{script}");
    }

    /// Runs the download of a file with these contents, and tells whether the runner would start and what is left to
    /// read.
    fn downloaded(contents: &str, fragment: &str) -> (bool, String, bool) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        // In place of the network: `wget ADDRESS -O FILE`.
        let stub = format!("#!/bin/sh\ncase $1 in *'#'*) exit 9 ;; esac\nprintf %s '{contents}' > \"$3\"\n");
        std::fs::write(path("wget"), stub).unwrap();
        std::fs::set_permissions(path("wget"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let spec = json!({ "imageHasGet": true, "java": {
            "jar": path("f.jar"), "jarLocation": format!("http://h/f.jar{fragment}"),
        } });
        let script = script(&function(spec), &Settings::default());
        let (download, _) = script.split_once(" && SHARD_ID=").unwrap();
        let download = download.replace("/dev/termination-log", &path("last-words"));
        let status = std::process::Command::new("sh")
            .args(["-c", &format!("{download} && touch {}", path("started"))])
            .env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        let started = std::path::Path::new(&path("started")).exists();
        assert_eq!(status.success(), started);
        let left = std::fs::read_to_string(path("last-words")).unwrap_or_default();
        (started, left, std::path::Path::new(&path("f.jar")).exists())
    }

    #[test]
    fn package_with_another_digest_does_not_start() {
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = |digest: &str| format!("#sha256={digest}");
        assert_eq!(downloaded("abc", &digest(right)), (true, String::new(), true));
        assert_eq!(downloaded("abc", &digest(&right.to_uppercase())), (true, String::new(), true));
        assert!(downloaded("abc", "").0);
        let (started, left, is_there) = downloaded("abd", &digest(right));
        assert!(!started && !is_there);
        assert!(left.starts_with("http://h/f.jar is not the file that was asked for:"), "{left}");
        assert!(left.contains(&format!("expected sha256 {right}, found a52d159f")), "{left}");
    }

    #[test]
    fn what_signs_an_address_is_not_shown() {
        for (location, shown) in [
            ("https://me:secret@h/a/f.jar?X-Signature=secret", "https://h/a/f.jar"),
            ("http://me:se@cret@h", "http://h"),
            ("http://me:secret@h:x/f?sig=S: Bad port number.", "http://h:x/f Bad port number."),
            ("no address at all? none", "no address at all? none"),
            ("https://h/a@b/f.jar#secret", "https://h/a@b/f.jar"),
            ("function://t/n/f@1", "function://t/n/f@1"),
        ] {
            assert_eq!(redact::message(location), shown);
        }
    }

    #[test]
    fn a_file_without_a_location_is_in_the_image() {
        let function = function(json!({}));
        assert!(script(&function, &Settings::default()).starts_with("SHARD_ID="));
        assert_eq!(with(&function, &init_containers(), init_container), None);
        assert!(with(&function, &init_containers(), volumes).is_empty());
        assert_eq!(with(&function, &init_containers(), mount), None);
    }

    #[test]
    fn only_what_is_downloaded_moves_below_pulsar() {
        let place = |jar: &str, location: Option<&str>| {
            let function = function(json!({ "java": { "jar": jar, "jarLocation": location } }));
            with(&function, &init_containers(), |context| path(context, context.runtime.unwrap()))
        };
        let package = Some("function://t/n/f@1");
        for (jar, location, expected) in [
            ("f.jar", package, "/pulsar/f.jar"),
            ("/opt/app.jar", package, "/pulsar/opt/app.jar"),
            ("/pulsar/x/f.jar", package, "/pulsar/x/f.jar"),
            ("/opt/app.jar", None, "/opt/app.jar"),
            ("connectors/x.nar", None, "/pulsar/connectors/x.nar"),
        ] {
            assert_eq!(place(jar, location), expected);
        }
    }

    #[test]
    fn the_init_container_downloads_to_a_volume_that_the_runner_mounts() {
        let spec = json!({
            "java": { "jar": "connectors/x.nar", "jarLocation": "sink://t/n/x@1" },
            "pulsarPackageService": {
                "pulsarConfig": "p", "tlsConfig": { "certSecretName": "c", "certSecretKey": "ca" },
            },
        });
        let sink = sink(spec);
        let container = with(&sink, &init_containers(), init_container).unwrap();
        let command = container.command.unwrap().remove(2);
        assert!(
            command.contains(" packages download sink://t/n/x@1 --path /pulsar/download/x.nar 2>&1)"),
            "{command}"
        );
        assert!(command.contains("PACKAGE_webServiceURL"), "{command}");
        let paths: Vec<_> =
            container.volume_mounts.unwrap().into_iter().map(|mount| mount.mount_path).collect();
        assert_eq!(paths, [FOLDER, "/etc/tls/pulsar-functions-package-service"]);
        assert_eq!(container.security_context, Some(container::security_context()));
        assert!(container.resources.is_some());
        let mount = with(&sink, &init_containers(), mount).unwrap();
        assert_eq!((mount.mount_path.as_str(), mount.sub_path), ("/pulsar/connectors", None));
        assert!(script(&sink, &init_containers()).starts_with("SHARD_ID="));
    }

    #[test]
    fn the_generic_runner_is_served_like_the_others() {
        let function = |location: Option<&str>| {
            bare_function(json!({ "genericRuntime": {
                "functionFile": "f.js", "language": "nodejs", "functionFileLocation": location,
            } }))
        };
        let packaged = function(Some("https://h/f.js"));
        let mount = with(&packaged, &init_containers(), super::mount).unwrap();
        assert_eq!((mount.mount_path.as_str(), mount.sub_path.as_deref()), ("/pulsar/f.js", Some("f.js")));
        assert!(with(&packaged, &init_containers(), init_container).is_some());
        assert_eq!(with(&function(None), &init_containers(), super::mount), None);
    }
}

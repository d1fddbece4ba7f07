//! Packages: how a component's code comes into its container when it is not in the image.
//!
//! Either the runner's own container downloads it before it starts the runner, or an init container does, into
//! a volume that both mount.

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, EnvVar, Volume, VolumeMount};

use crate::admin::{Admin, Program};
use crate::connection::Connection;
use crate::container;
use crate::context::{Context, Runtime};
use crate::images;
use crate::shell::{Command, Script};

const VOLUME: &str = "downloader-volume";
const FOLDER: &str = "/pulsar/download";
const HOME: &str = "/pulsar/";

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

fn connection<'a>(context: &Context<'a>) -> Connection<'a> {
    context.package_connection().unwrap_or_else(|| context.connection())
}

fn is_http(location: &str) -> bool {
    location.starts_with("http://") || location.starts_with("https://")
}

fn fetch(admin: Admin<'_>, has_wget: bool, location: &str, target: &str) -> Script {
    let script = Script::default();
    if is_http(location) && has_wget {
        // The address first: some builds of wget read options only before it ends.
        script.run(Command::new("wget").arg(location).option("-O", target))
    } else if images::is_package(location) {
        admin.run(script, ["packages", "download", location, "--path", target])
    } else {
        admin.run(script, ["functions", "download", "--path", location, "--destination-file", target])
    }
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
    let mut mounts = vec![VolumeMount {
        name: VOLUME.to_owned(),
        mount_path: FOLDER.to_owned(),
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
        env: Some(vec![EnvVar {
            name: "HOME".to_owned(),
            value: Some("/tmp".to_owned()),
            value_from: None,
        }]),
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
    let shared = Volume {
        name: VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
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
    Some(VolumeMount { name: VOLUME.to_owned(), mount_path, sub_path, ..VolumeMount::default() })
}

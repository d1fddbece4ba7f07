//! The download as a shell script, and the path of the downloaded file.

use function_mesh_api::names::split_digest;

use crate::admin::{AdminTool, PulsarAdmin};
use crate::connection::Connection;
use crate::context::{Context, Runtime};
use crate::images;
use crate::redact;
use crate::shell::{Command, Script};

/// Home of Pulsar in the image, below which relative paths are.
pub(super) const HOME: &str = "/pulsar/";
/// Maximum characters of a location in an error message.
const MAX_SHOWN: usize = 150;

pub(super) fn connection<'a>(context: &Context<'a>) -> Connection<'a> {
    context.package_connection().unwrap_or_else(|| context.connection())
}

pub(super) fn is_http(location: &str) -> bool {
    images::has_scheme(location, &["http://", "https://"])
}

/// Script that compares a digest, its first argument, with that of a file, its second one. Removes a file with another
/// digest.
const VERIFY: &str = "found=$(sha256sum <\"$2\") && found=${found%% *} && test \"$found\" = \"$1\" || \
    { echo \"expected sha256 $1, found ${found:-none}; the file was replaced, or the digest is of another one\"; \
    rm -f \"$2\"; exit 1; }";

pub(super) fn fetch(admin: PulsarAdmin<'_>, has_wget: bool, location: &str, target: &str) -> Script {
    let (location, digest) = split_digest(location);
    let (script, command) = if is_http(location) && has_wget {
        (Script::default(), Command::new("wget").arg(location).option("-O", target))
    } else if images::is_package(location) {
        admin.command(["packages", "download", location, "--path", target])
    } else {
        admin.command(["functions", "download", "--path", location, "--destination-file", target])
    };
    let shown: String = redact::message(location).chars().take(MAX_SHOWN).collect();
    let script = script.run_or_record_failure(&command, &format!("cannot download {shown}:"));
    let Some(digest) = digest else { return script };
    let verify = Command::new("sh").args(["-c", VERIFY, "sh", &digest, target]);
    script.run_or_record_failure(&verify, &format!("{shown} is not the file that was asked for:"))
}

/// Builds the download script of the main container.
pub(crate) fn build_script(context: &Context<'_>, runtime: Runtime<'_>) -> Script {
    let Some(location) = runtime.location() else { return Script::default() };
    let (tool, has_wget) = match runtime {
        Runtime::Generic(_) => (AdminTool::Pulsarctl, true),
        Runtime::Java(_) | Runtime::Python(_) | Runtime::Go(_) => {
            (images::admin_tool(context), images::has_wget(context))
        }
    };
    let is_short = context.is_second_edition();
    let admin = PulsarAdmin { tool, connection: connection(context), is_short };
    fetch(admin, has_wget, location, runtime.file())
}

/// Path of the code in the main container. With init containers, relative paths start at `/pulsar`, and absolute ones
/// stay as they are; in the first edition of the template, the absolute path of a download is below `/pulsar` too.
pub(crate) fn path(context: &Context<'_>, runtime: Runtime<'_>) -> String {
    let file = runtime.file();
    if !context.settings.enable_init_containers || file.is_empty() || file.starts_with(HOME) {
        return file.to_owned();
    }
    if context.is_second_edition() && file.starts_with('/') {
        return file.to_owned();
    }
    match file.strip_prefix('/') {
        None => format!("{HOME}{file}"),
        Some(below) if runtime.location().is_some() => format!("{HOME}{below}"),
        Some(_) => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, init_containers, script, with_settings};
    use crate::{Edition, Settings};
    use serde_json::json;

    #[test]
    fn url_is_quoted() {
        let location = "https://h/f.jar?a=1&b=2;rm -rf '/'";
        let spec = json!({ "imageHasGet": true, "java": { "jar": "f.jar", "jarLocation": location } });
        let script = script(&function(spec), &Settings::default());
        let quoted = r#"{ said=$(wget 'https://h/f.jar?a=1&b=2;rm -rf '"'"'/'"'"'' -O f.jar 2>&1) && "#;
        assert!(script.starts_with(quoted) && script.contains("; } && SHARD_ID="), "{script}");
    }

    /// Runs the download of a file with the contents. Returns whether the runner starts, the termination message, and
    /// whether the file exists.
    fn downloaded(contents: &str, fragment: &str) -> (bool, String, bool) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        // Replaces the network: `wget URL -O FILE`.
        let stub = format!("#!/bin/sh\ncase $1 in *'#'*) exit 9 ;; esac\nprintf %s '{contents}' > \"$3\"\n");
        std::fs::write(path("wget"), stub).unwrap();
        std::fs::set_permissions(path("wget"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let spec = json!({ "imageHasGet": true, "java": {
            "jar": path("f.jar"), "jarLocation": format!("http://h/f.jar{fragment}"),
        } });
        let script = script(&function(spec), &Settings::default());
        let (download, _) = script.split_once(" && SHARD_ID=").unwrap();
        let download = download.replace("/dev/termination-log", &path("termination-log"));
        let status = std::process::Command::new("sh")
            .args(["-c", &format!("{download} && touch {}", path("started"))])
            .env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        let started = std::path::Path::new(&path("started")).exists();
        assert_eq!(status.success(), started);
        let left = std::fs::read_to_string(path("termination-log")).unwrap_or_default();
        (started, left, std::path::Path::new(&path("f.jar")).exists())
    }

    #[test]
    fn package_with_another_digest_does_not_run() {
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
    fn credentials_in_urls_are_redacted() {
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
    fn only_relative_paths_are_below_pulsar() {
        let place = |edition: Edition, jar: &str, location: Option<&str>| {
            let function = function(json!({ "java": { "jar": jar, "jarLocation": location } }));
            with_settings(&function, &init_containers(), |context| {
                path(&Context { edition, ..context.clone() }, context.runtime.unwrap())
            })
        };
        let package = Some("function://t/n/f@1");
        for (jar, location, first, second) in [
            ("f.jar", package, "/pulsar/f.jar", "/pulsar/f.jar"),
            ("/opt/app.jar", package, "/pulsar/opt/app.jar", "/opt/app.jar"),
            ("/pulsar/x/f.jar", package, "/pulsar/x/f.jar", "/pulsar/x/f.jar"),
            ("/opt/app.jar", None, "/opt/app.jar", "/opt/app.jar"),
            ("connectors/x.nar", None, "/pulsar/connectors/x.nar", "/pulsar/connectors/x.nar"),
        ] {
            assert_eq!(place(Edition::First, jar, location), first);
            assert_eq!(place(Edition::Second, jar, location), second);
        }
    }
}

//! Images, and what is known of them.

use function_mesh_api::Role;

use crate::admin::Program;
use crate::context::{Context, Runtime};

/// Image of the init container that downloads packages.
pub(crate) const DOWNLOADER: &str = "streamnative/pulsarctl:2.10.2.3";
/// Image of the sidecar that carries log lines to the log topic.
pub(crate) const FILEBEAT: &str = "streamnative/filebeat:v0.6.0";

fn given(image: Option<&str>) -> Option<&str> {
    image.filter(|image| !image.is_empty())
}

/// Image of the runner.
pub(crate) fn runner(context: &Context<'_>) -> String {
    let images = &context.settings.runner_images;
    if let Some(image) = given(context.common.image) {
        return image.to_owned();
    }
    let image = match (context.role(), context.runtime) {
        (Role::Function, Some(Runtime::Java(_))) => &images.java,
        (Role::Function, Some(Runtime::Python(_))) => &images.python,
        (Role::Function, Some(Runtime::Go(_))) => &images.go,
        (Role::Function, Some(Runtime::Generic(generic))) => {
            images.generic.get(&generic.language).unwrap_or(&images.other)
        }
        // Connectors that are packages need the runner alone, the others come with the image of all of Pulsar.
        (Role::Source | Role::Sink, Some(runtime)) if runtime.location().is_some_and(is_package) => {
            &images.java
        }
        (Role::Source | Role::Sink, Some(_)) | (_, None) => &images.other,
    };
    image.clone()
}

/// Image of the init container that downloads packages.
pub(crate) fn downloader(context: &Context<'_>) -> String {
    given(context.common.downloader_image).unwrap_or(DOWNLOADER).to_owned()
}

/// Image of the sidecar that carries log lines to the log topic.
pub(crate) fn filebeat(context: &Context<'_>) -> String {
    given(context.common.filebeat_image).unwrap_or(FILEBEAT).to_owned()
}

/// Image of the container that cleans up.
pub(crate) fn cleanup(context: &Context<'_>) -> String {
    given(context.common.cleanup_image).map_or_else(|| runner(context), ToOwned::to_owned)
}

/// When the runner's image is pulled.
pub(crate) fn pull_policy(context: &Context<'_>) -> String {
    let of_operator = context.settings.runner_image_pull_policy.as_deref();
    given(context.common.image_pull_policy).or(given(of_operator)).unwrap_or("IfNotPresent").to_owned()
}

/// Whether a location is a package of Pulsar.
pub(crate) fn is_package(location: &str) -> bool {
    has_scheme(location, &["function://", "sink://", "source://"])
}

/// Whether an address begins with one of these, in whichever case.
pub(crate) fn has_scheme(address: &str, schemes: &[&str]) -> bool {
    schemes
        .iter()
        .any(|scheme| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// The program that the component's image has for administration.
pub(crate) fn admin_program(context: &Context<'_>) -> Program {
    if context.common.image_has_pulsarctl || is_known_runner(context) {
        Program::Pulsarctl
    } else {
        Program::PulsarAdmin
    }
}

/// Whether the component's image can download over HTTP.
pub(crate) fn has_wget(context: &Context<'_>) -> bool {
    context.common.image_has_wget || is_known_runner(context)
}

/// Whether the component names one of the runners that come with pulsarctl and wget.
fn is_known_runner(context: &Context<'_>) -> bool {
    let name = given(context.common.image).unwrap_or_default();
    name.match_indices("pulsar-functions-").any(|(start, prefix)| {
        let rest = name.get(start + prefix.len()..).unwrap_or_default();
        let rest = ["pulsarctl-", "sn-", "generic-"].iter().find_map(|kind| rest.strip_prefix(kind));
        let languages = ["java-runner", "python-runner", "go-runner", "nodejs-runner", "base-runner"];
        rest.is_some_and(|rest| languages.iter().any(|language| rest.starts_with(language)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bare_function, function, of, sink, with};
    use crate::{RunnerImages, Settings};
    use serde_json::json;

    #[test]
    fn each_runtime_has_its_image() {
        let images = RunnerImages::default();
        assert_eq!(of(&function(json!({})), runner), images.java);
        assert_eq!(of(&bare_function(json!({ "python": { "py": "f" } })), runner), images.python);
        assert_eq!(of(&bare_function(json!({ "golang": { "go": "f" } })), runner), images.go);
        let generic = |language| {
            bare_function(json!({ "genericRuntime": { "functionFile": "f", "language": language } }))
        };
        assert_eq!(of(&generic("nodejs"), runner), images.generic["nodejs"]);
        assert_eq!(of(&generic("cobol"), runner), images.other);
        assert_eq!(of(&sink(json!({})), runner), images.other);
        let packaged = sink(json!({ "java": { "jarLocation": "sink://t/n/s@1" } }));
        assert_eq!(of(&packaged, runner), images.java);
        assert_eq!(of(&sink(json!({ "image": "own" })), runner), "own");
    }

    #[test]
    fn the_user_decides_when_an_image_is_pulled_and_then_the_operator() {
        let settings = Settings { runner_image_pull_policy: Some("Never".into()), ..Settings::default() };
        assert_eq!(with(&function(json!({ "imagePullPolicy": "Always" })), &settings, pull_policy), "Always");
        assert_eq!(with(&function(json!({})), &settings, pull_policy), "Never");
        assert_eq!(of(&function(json!({})), pull_policy), "IfNotPresent");
    }

    #[test]
    fn runners_that_come_with_pulsarctl_are_known_by_their_names() {
        let program = |spec| of(&function(spec), admin_program);
        for (image, expected) in [
            ("x/pulsar-functions-pulsarctl-java-runner:1", Program::Pulsarctl),
            ("x/pulsar-functions-sn-go-runner", Program::Pulsarctl),
            ("pulsar-functions-x/pulsar-functions-generic-base-runner:1", Program::Pulsarctl),
            ("x/pulsar-functions-java-runner:1", Program::PulsarAdmin),
            ("x/pulsar-functions-sn-cobol-runner", Program::PulsarAdmin),
        ] {
            assert_eq!(program(json!({ "image": image })), expected, "{image}");
        }
        assert_eq!(program(json!({ "imageHasPulsarctl": true })), Program::Pulsarctl);
    }
}

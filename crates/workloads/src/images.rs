//! Images of containers, and their tools.

use function_mesh_api::Role;
use function_mesh_api::types::image_pull_policy;

use crate::admin::AdminTool;
use crate::context::{Context, Runtime};
use crate::optional::non_empty;

/// Default image of the init container that downloads packages.
pub(crate) const DOWNLOADER: &str = "streamnative/pulsarctl:2.10.2.3";
/// Default image of the Filebeat sidecar.
pub(crate) const FILEBEAT: &str = "streamnative/filebeat:v0.6.0";

/// Image of the runner.
pub(crate) fn runner(context: &Context<'_>) -> String {
    let images = &context.settings.runner_images;
    if let Some(image) = non_empty(context.common.image) {
        return image.to_owned();
    }
    let image = match (context.role(), context.runtime) {
        (Role::Function, Some(Runtime::Java(_))) => &images.java,
        (Role::Function, Some(Runtime::Python(_))) => &images.python,
        (Role::Function, Some(Runtime::Go(_))) => &images.go,
        (Role::Function, Some(Runtime::Generic(generic))) => {
            images.generic.get(&generic.language).unwrap_or(&images.other)
        }
        // Built-in connectors need the image with all connectors, packages only the runner.
        (Role::Source | Role::Sink, Some(runtime)) if runtime.location().is_some_and(is_package) => {
            &images.java
        }
        (Role::Source | Role::Sink, Some(_)) | (_, None) => &images.other,
    };
    image.clone()
}

/// Image of the init container that downloads packages.
pub(crate) fn downloader(context: &Context<'_>) -> String {
    non_empty(context.common.downloader_image).unwrap_or(DOWNLOADER).to_owned()
}

/// Image of the Filebeat sidecar.
pub(crate) fn filebeat(context: &Context<'_>) -> String {
    non_empty(context.common.filebeat_image).unwrap_or(FILEBEAT).to_owned()
}

/// Image of the clean-up Job.
pub(crate) fn cleanup(context: &Context<'_>) -> String {
    non_empty(context.common.cleanup_image).map_or_else(|| runner(context), ToOwned::to_owned)
}

/// Image pull policy of the main container. Upstream never reads the component's, so an unknown one is left out.
pub(crate) fn pull_policy(context: &Context<'_>) -> String {
    let from_settings = context.settings.runner_image_pull_policy.as_deref();
    let known = [context.common.image_pull_policy, from_settings];
    known.into_iter().flatten().find_map(image_pull_policy).unwrap_or("IfNotPresent").to_owned()
}

/// Whether a location is a Pulsar package.
pub(crate) fn is_package(location: &str) -> bool {
    has_scheme(location, &["function://", "sink://", "source://"])
}

/// Whether a URL has one of the schemes, ignoring case.
pub(crate) fn has_scheme(address: &str, schemes: &[&str]) -> bool {
    schemes
        .iter()
        .any(|scheme| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

/// Admin tool of the runner image.
pub(crate) fn admin_tool(context: &Context<'_>) -> AdminTool {
    if context.common.image_has_pulsarctl || is_known_runner(context) {
        AdminTool::Pulsarctl
    } else {
        AdminTool::PulsarAdmin
    }
}

/// Whether the runner image contains wget.
pub(crate) fn has_wget(context: &Context<'_>) -> bool {
    context.common.image_has_wget || is_known_runner(context)
}

/// Whether the image is, by its name, a runner image that contains pulsarctl and wget.
fn is_known_runner(context: &Context<'_>) -> bool {
    let name = non_empty(context.common.image).unwrap_or_default();
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
    use crate::testing::{bare_function, function, sink, with_defaults, with_settings};
    use crate::{RunnerImages, Settings};
    use serde_json::json;

    #[test]
    fn default_image_by_runtime() {
        let images = RunnerImages::default();
        assert_eq!(with_defaults(&function(json!({})), runner), images.java);
        assert_eq!(with_defaults(&bare_function(json!({ "python": { "py": "f" } })), runner), images.python);
        assert_eq!(with_defaults(&bare_function(json!({ "golang": { "go": "f" } })), runner), images.go);
        let generic = |language| {
            bare_function(json!({ "genericRuntime": { "functionFile": "f", "language": language } }))
        };
        assert_eq!(with_defaults(&generic("nodejs"), runner), images.generic["nodejs"]);
        assert_eq!(with_defaults(&generic("cobol"), runner), images.other);
        assert_eq!(with_defaults(&sink(json!({})), runner), images.other);
        let packaged = sink(json!({ "java": { "jarLocation": "sink://t/n/s@1" } }));
        assert_eq!(with_defaults(&packaged, runner), images.java);
        assert_eq!(with_defaults(&sink(json!({ "image": "own" })), runner), "own");
    }

    #[test]
    fn component_pull_policy_overrides_operator_default() {
        let settings = Settings { runner_image_pull_policy: Some("Never".into()), ..Settings::default() };
        assert_eq!(
            with_settings(&function(json!({ "imagePullPolicy": "Always" })), &settings, pull_policy),
            "Always"
        );
        assert_eq!(with_settings(&function(json!({})), &settings, pull_policy), "Never");
        assert_eq!(with_defaults(&function(json!({})), pull_policy), "IfNotPresent");
        for (written, rendered) in
            [("always", "Always"), ("IFNOTPRESENT", "IfNotPresent"), ("sometimes", "Never"), ("", "Never")]
        {
            let function = function(json!({ "imagePullPolicy": written }));
            assert_eq!(with_settings(&function, &settings, pull_policy), rendered, "{written:?}");
        }
    }

    #[test]
    fn admin_tool_by_image_name() {
        let program = |spec| with_defaults(&function(spec), admin_tool);
        for (image, expected) in [
            ("x/pulsar-functions-pulsarctl-java-runner:1", AdminTool::Pulsarctl),
            ("x/pulsar-functions-sn-go-runner", AdminTool::Pulsarctl),
            ("pulsar-functions-x/pulsar-functions-generic-base-runner:1", AdminTool::Pulsarctl),
            ("x/pulsar-functions-java-runner:1", AdminTool::PulsarAdmin),
            ("x/pulsar-functions-sn-cobol-runner", AdminTool::PulsarAdmin),
        ] {
            assert_eq!(program(json!({ "image": image })), expected, "{image}");
        }
        assert_eq!(program(json!({ "imageHasPulsarctl": true })), AdminTool::Pulsarctl);
    }
}

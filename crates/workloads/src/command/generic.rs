//! Command of the generic runtime.

use function_mesh_api::types::GenericRuntime;

use crate::context::Context;
use crate::shell::{Command, Script};

use super::shared;

pub(super) fn script(context: &Context<'_>, script: Script, generic: &GenericRuntime, file: &str) -> Script {
    let language = generic.language.as_str();
    let command =
        Command::new("pulsar_rust_instance").option("--function_file", file).option("--language", language);
    let command = shared::arguments(context, command);
    let command = match language {
        "python" => shared::secrets(context, command, "secrets_provider.EnvironmentBasedSecretsProvider"),
        "nodejs" => shared::secrets(context, command, "EnvironmentBasedSecretsProvider"),
        _ => command,
    };
    script.exec(&shared::state(context, command))
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::testing::{bare_function, script};
    use serde_json::json;

    fn generic(language: &str) -> String {
        let function = bare_function(json!({
            "genericRuntime": {
                "functionFile": "f.x", "language": language, "functionFileLocation": "function://t/n/f@1",
            },
            "secretsMap": { "s": { "path": "p", "key": "k" } },
        }));
        script(&function, &Settings::default())
    }

    #[test]
    fn secrets_provider_by_language() {
        assert!(
            generic("python")
                .ends_with(" --secrets_provider secrets_provider.EnvironmentBasedSecretsProvider")
        );
        assert!(generic("nodejs").ends_with(" --secrets_provider EnvironmentBasedSecretsProvider"));
        assert!(generic("wasm").ends_with(" --use_tls false"));
    }

    #[test]
    fn downloads_with_pulsarctl() {
        let script = generic("wasm");
        assert!(script.contains(" packages download function://t/n/f@1 --path f.x 2>&1) && "), "{script}");
        assert!(script.contains("; } && SHARD_ID="), "{script}");
        assert!(
            script.contains(" && exec pulsar_rust_instance --function_file f.x --language wasm "),
            "{script}"
        );
    }
}

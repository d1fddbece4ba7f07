//! The generic runner, for languages that have none of their own.

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

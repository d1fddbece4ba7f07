//! Command of the Python runtime.

use function_mesh_api::types::PythonRuntime;

use crate::context::Context;
use crate::log;
use crate::shell::{Command, Script, ShellWord};

use super::shared;

const SECRETS: &str = "secretsprovider.EnvironmentBasedSecretsProvider";

pub(super) fn script(context: &Context<'_>, script: Script, python: &PythonRuntime, file: &str) -> Script {
    let config = python.log.as_ref();
    let script = log::python::prepare(context, script, config);
    let command = Command::new("python")
        .arg(log::python::runner(context))
        .option("--py", file)
        .option("--logging_directory", log::python::logs(context))
        .option(
            "--logging_file",
            ShellWord::from(format!("{}-", context.file_name())).then(super::shard_id()).then(".log"),
        )
        .option("--logging_config_file", log::python::word(context, config))
        .option("--install_usercode_dependencies", "true");
    let command = shared::arguments(context, command);
    let command = shared::state(context, shared::secrets(context, command, SECRETS));
    script.exec(&command)
}

#[cfg(test)]
mod tests {
    use crate::Settings;
    use crate::testing::{bare_function, script};
    use serde_json::json;

    #[test]
    fn log_file_contains_the_ordinal() {
        let function = bare_function(json!({
            "name": "my function", "python": { "py": "f.py" }, "secretsMap": { "s": { "path": "p", "key": "k" } },
            "statefulConfig": { "pulsar": { "serviceUrl": "bk://b:4181" } },
        }));
        let script = script(&function, &Settings::default());
        assert!(script.contains(" --py f.py "), "{script}");
        assert!(script.contains(r#" --logging_file 'my function-'"${SHARD_ID}".log "#), "{script}");
        let tail = " --use_tls false --secrets_provider secretsprovider.EnvironmentBasedSecretsProvider \
                    --state_storage_serviceurl bk://b:4181";
        assert!(script.ends_with(tail), "{script}");
    }
}

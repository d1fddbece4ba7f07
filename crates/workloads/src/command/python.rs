//! The Python runner.

use function_mesh_api::types::PythonRuntime;

use crate::context::Context;
use crate::log;
use crate::shell::{Command, Script, Word};

use super::shared;

const MAIN: &str = "/pulsar/instances/python-instance/python_instance_main.py";
const SECRETS: &str = "secretsprovider.EnvironmentBasedSecretsProvider";

pub(super) fn script(context: &Context<'_>, script: Script, python: &PythonRuntime, file: &str) -> Script {
    let script = log::python::prepare(context, script, python.log.as_ref());
    let command = Command::new("python")
        .arg(MAIN)
        .option("--py", file)
        .option("--logging_directory", "logs/functions")
        .option(
            "--logging_file",
            Word::from(format!("{}-", context.name())).then(super::shard_id()).then(".log"),
        )
        .option("--logging_config_file", log::python::FILE)
        .option("--install_usercode_dependencies", "true");
    let command = shared::arguments(context, command);
    let command = shared::state(context, shared::secrets(context, command, SECRETS));
    script.exec(&command)
}

//! Command of the main container, one module for each runtime.

pub(crate) mod folders;
mod generic;
mod go;
mod java;
mod python;
mod shared;

use crate::context::{Context, Runtime};
use crate::download;
use crate::shell::{Script, ShellWord};

/// Variable with the ordinal of the replica, from the pod name.
const SHARD_ID: &str = "SHARD_ID";

/// Builds the command of the main container. None without a runtime.
pub(crate) fn build_command(context: &Context<'_>) -> Option<Vec<String>> {
    let runtime = context.runtime?;
    let mut script = Script::default();
    if !context.settings.enable_init_containers {
        script = script.append(download::build_script(context, runtime));
    }
    script =
        script.run(format!("{SHARD_ID}=${{POD_NAME##*-}}")).run(format!("echo shardId=\"${{{SHARD_ID}}}\""));
    let file = download::path(context, runtime);
    Some(match runtime {
        Runtime::Java(java) => java::script(context, script, java, &file).into_command("bash"),
        Runtime::Python(python) => python::script(context, script, python, &file).into_command("bash"),
        Runtime::Go(_) => go::script(context, script, &file).into_command("bash"),
        Runtime::Generic(generic) => generic::script(context, script, generic, &file).into_command("sh"),
    })
}

fn shard_id() -> ShellWord {
    ShellWord::variable(SHARD_ID)
}

/// ID of a replica: its ordinal and the UID of the component, or of the one whose StatefulSet it adopted.
fn function_id(context: &Context<'_>) -> ShellWord {
    shard_id().then(format!("-{}", context.function_uid()))
}

//! Commands of containers that run components, one module a runtime.

mod generic;
mod go;
mod java;
mod python;
mod shared;

use crate::context::{Context, Runtime};
use crate::download;
use crate::shell::{Script, Word};

/// The number of a replica, from the name of its pod.
const SHARD_ID: &str = "SHARD_ID";

/// The command of the container that runs the component.
pub(crate) fn of(context: &Context<'_>) -> Option<Vec<String>> {
    let runtime = context.runtime?;
    let mut script = Script::default();
    if !context.settings.enable_init_containers {
        script = script.append(download::in_place(context, runtime));
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

fn shard_id() -> Word {
    Word::variable(SHARD_ID)
}

/// Identity of a replica: its number and the identity of the component.
fn function_id(context: &Context<'_>) -> Word {
    shard_id().then(format!("-{}", context.uid()))
}

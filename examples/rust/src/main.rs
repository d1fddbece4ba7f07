//! A tool that makes a mesh of functions: one for each step that its user names.

use std::error::Error;

use function_mesh_api::topology::Topology;
use function_mesh_api::types::{InputConf, OutputConf, PulsarMessaging, PythonRuntime};
use function_mesh_api::{FunctionMesh, FunctionMeshSpec, FunctionSpec, validate};

/// A function that reads the topic `from` and writes the topic `to`.
fn step(name: &str, class: &str, from: &str, to: &str) -> FunctionSpec {
    FunctionSpec {
        name: Some(name.into()),
        class_name: Some(class.into()),
        input: Some(InputConf { topics: Some(vec![from.into()]), ..InputConf::default() }),
        output: Some(OutputConf { topic: Some(to.into()), ..OutputConf::default() }),
        python: Some(PythonRuntime {
            py: "/pulsar/examples/python-examples/exclamation_function.py".into(),
            ..PythonRuntime::default()
        }),
        pulsar: Some(PulsarMessaging { pulsar_config: Some("pulsar".into()), ..PulsarMessaging::default() }),
        ..FunctionSpec::default()
    }
}

/// A mesh of these functions, complete with its defaults.
fn mesh(functions: Vec<FunctionSpec>) -> FunctionMesh {
    let mut mesh =
        FunctionMesh::new("words", FunctionMeshSpec { functions: Some(functions), ..Default::default() });
    mesh.spec.set_defaults();
    mesh
}

fn main() -> Result<(), Box<dyn Error>> {
    let shout = step("shout", "exclamation_function.ExclamationFunction", "words", "shouts");

    // Every fault is found at once, each with its field. Warnings are what is most likely not meant.
    let mut wrong = step("scream", "", "shouts", "louder");
    wrong.replicas = Some(2);
    wrong.max_replicas = Some(1);
    let findings = validate::check_mesh(&mesh(vec![shout.clone(), wrong]));
    println!("a mesh with faults:");
    for fault in &findings.violations {
        println!("  {}: {}", fault.field, fault.message);
    }
    for warning in &findings.warnings {
        println!("  warning: {}: {}", warning.field, warning.message);
    }

    // What keeps all rules is a type of its own, which only the check makes.
    let scream = step("scream", "exclamation_function.ExclamationFunction", "shouts", "louder");
    let valid = validate::valid_mesh(mesh(vec![shout, scream]))?;

    let graph = Topology::of(&valid.spec);
    println!("\nthe way of the messages:");
    for edge in graph.edges() {
        let name = |component: usize| &graph.components()[component].name;
        let topic = graph.topics()[edge.topic].short_name();
        println!("  {} --{topic}--> {}", name(edge.from), name(edge.to));
    }
    let names: Vec<_> = graph.external_inputs().map(|topic| topic.short_name()).collect();
    println!("  reads from elsewhere: {}", names.join(", "));
    let names: Vec<_> = graph.external_outputs().map(|topic| topic.short_name()).collect();
    println!("  writes for others: {}", names.join(", "));

    println!("\nthe manifest:\n{}", serde_saphyr::to_string(&valid.into_inner())?);
    Ok(())
}

//! A tool that builds a mesh with one function for each step.

use std::error::Error;

use function_mesh_api::topology::Topology;
use function_mesh_api::types::{InputConf, OutputConf, PulsarMessaging, PythonRuntime};
use function_mesh_api::{FunctionMesh, FunctionMeshSpec, FunctionSpec, validate};

/// A function that consumes the topic `from` and produces to the topic `to`.
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

/// A mesh of functions, with defaults.
fn mesh(functions: Vec<FunctionSpec>) -> FunctionMesh {
    let mut mesh =
        FunctionMesh::new("words", FunctionMeshSpec { functions: Some(functions), ..Default::default() });
    mesh.spec.set_defaults();
    mesh
}

fn main() -> Result<(), Box<dyn Error>> {
    let shout = step("shout", "exclamation_function.ExclamationFunction", "words", "shouts");

    // Validation reports all violations at once, each with its field, and warnings for probable mistakes.
    let mut invalid = step("scream", "", "shouts", "louder");
    invalid.replicas = Some(2);
    invalid.max_replicas = Some(1);
    let findings = validate::check_mesh(&mesh(vec![shout.clone(), invalid]));
    println!("violations of an invalid mesh:");
    for violation in &findings.violations {
        println!("  {}: {}", violation.field, violation.message);
    }
    for warning in &findings.warnings {
        println!("  warning: {}: {}", warning.field, warning.message);
    }

    // Only validation creates a `Valid` mesh.
    let scream = step("scream", "exclamation_function.ExclamationFunction", "shouts", "louder");
    let valid = validate::valid_mesh(mesh(vec![shout, scream]))?;

    let graph = Topology::of(&valid.spec);
    println!("\ntopology:");
    for edge in graph.edges() {
        let name = |component: usize| &graph.components()[component].name;
        let topic = graph.topics()[edge.topic].short_name();
        println!("  {} --{topic}--> {}", name(edge.from), name(edge.to));
    }
    let names: Vec<_> = graph.external_inputs().map(|topic| topic.short_name()).collect();
    println!("  external inputs: {}", names.join(", "));
    let names: Vec<_> = graph.external_outputs().map(|topic| topic.short_name()).collect();
    println!("  external outputs: {}", names.join(", "));

    println!("\nmanifest:\n{}", serde_saphyr::to_string(&valid.into_inner())?);
    Ok(())
}

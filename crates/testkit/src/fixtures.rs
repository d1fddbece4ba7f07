//! Small valid objects; a test changes the field that it is about.

use anyhow::anyhow;
use function_mesh_api::types::{
    FreeForm, InputConf, JavaRuntime, OutputConf, PulsarMessaging, PythonRuntime,
};
use function_mesh_api::validate::{check_component, check_mesh};
use function_mesh_api::{
    Component, Function, FunctionMesh, FunctionMeshSpec, FunctionSpec, SinkSpec, SourceSpec, Spec,
};

/// A component of a mesh.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a handful of them exist at a time")]
pub enum Part {
    /// A function.
    Function(FunctionSpec),
    /// A source.
    Source(SourceSpec),
    /// A sink.
    Sink(SinkSpec),
}

impl From<FunctionSpec> for Part {
    fn from(spec: FunctionSpec) -> Self {
        Self::Function(spec)
    }
}

impl From<SourceSpec> for Part {
    fn from(spec: SourceSpec) -> Self {
        Self::Source(spec)
    }
}

impl From<SinkSpec> for Part {
    fn from(spec: SinkSpec) -> Self {
        Self::Sink(spec)
    }
}

/// A Java function that consumes from `words` and produces to `shouts`.
pub fn java_function(name: &str) -> FunctionSpec {
    FunctionSpec {
        name: Some(name.to_owned()),
        class_name: Some("org.apache.pulsar.functions.api.examples.ExclamationFunction".to_owned()),
        input: Some(reads("words")),
        output: Some(writes("shouts")),
        java: Some(JavaRuntime {
            jar: "/pulsar/examples/api-examples.jar".to_owned(),
            ..JavaRuntime::default()
        }),
        pulsar: Some(pulsar()),
        ..FunctionSpec::default()
    }
}

/// A Python function that consumes from `shouts` and produces to `louder`.
pub fn python_function(name: &str) -> FunctionSpec {
    FunctionSpec {
        name: Some(name.to_owned()),
        class_name: Some("exclamation_function.ExclamationFunction".to_owned()),
        input: Some(reads("shouts")),
        output: Some(writes("louder")),
        python: Some(PythonRuntime {
            py: "/pulsar/examples/python-examples/exclamation_function.py".to_owned(),
            ..PythonRuntime::default()
        }),
        pulsar: Some(pulsar()),
        ..FunctionSpec::default()
    }
}

/// A source that produces to `words`.
pub fn source(name: &str) -> SourceSpec {
    SourceSpec {
        name: Some(name.to_owned()),
        class_name: Some("org.apache.pulsar.io.datagenerator.DataGeneratorSource".to_owned()),
        source_config: Some(FreeForm::new()),
        output: Some(writes("words")),
        java: Some(connector("connectors/pulsar-io-data-generator.nar")),
        pulsar: Some(pulsar()),
        ..SourceSpec::default()
    }
}

/// A sink that consumes from `louder`.
pub fn sink(name: &str) -> SinkSpec {
    SinkSpec {
        name: Some(name.to_owned()),
        class_name: Some("org.apache.pulsar.io.datagenerator.DataGeneratorPrintSink".to_owned()),
        sink_config: Some(FreeForm::new()),
        input: Some(reads("louder")),
        java: Some(connector("connectors/pulsar-io-data-generator.nar")),
        pulsar: Some(pulsar()),
        ..SinkSpec::default()
    }
}

fn reads(topic: &str) -> InputConf {
    InputConf { topics: Some(vec![topic.to_owned()]), ..InputConf::default() }
}

fn writes(topic: &str) -> OutputConf {
    OutputConf { topic: Some(topic.to_owned()), ..OutputConf::default() }
}

fn connector(path: &str) -> JavaRuntime {
    JavaRuntime { jar: path.to_owned(), ..JavaRuntime::default() }
}

fn pulsar() -> PulsarMessaging {
    PulsarMessaging { pulsar_config: Some("pulsar".to_owned()), ..PulsarMessaging::default() }
}

/// A function without a mesh, with the name in its spec.
pub fn function(spec: FunctionSpec) -> anyhow::Result<Function> {
    component(spec)
}

fn component<C: Component>(spec: C::Spec) -> anyhow::Result<C> {
    let name = spec.view().common.name.unwrap_or_default().to_owned();
    let object = C::with_spec(&name, spec);
    check_component(&object).into_result().map_err(|violations| anyhow!(violations))?;
    Ok(object)
}

/// A mesh of these components.
pub fn mesh(name: &str, parts: impl IntoIterator<Item = Part>) -> anyhow::Result<FunctionMesh> {
    let mut spec = FunctionMeshSpec::default();
    for part in parts {
        match part {
            Part::Function(part) => spec.functions.get_or_insert_default().push(part),
            Part::Source(part) => spec.sources.get_or_insert_default().push(part),
            Part::Sink(part) => spec.sinks.get_or_insert_default().push(part),
        }
    }
    let mesh = FunctionMesh::new(name, spec);
    check_mesh(&mesh).into_result().map_err(|violations| anyhow!(violations))?;
    Ok(mesh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixtures_are_valid_and_connected() {
        let mut parts: Vec<Part> = vec![source("feed").into(), sink("drain").into()];
        parts.extend([java_function("shout").into(), python_function("scream").into()]);
        let mesh = mesh("m", parts).unwrap();
        assert_eq!(check_mesh(&mesh).warnings, []);
        function(java_function("shout")).unwrap();
    }
}

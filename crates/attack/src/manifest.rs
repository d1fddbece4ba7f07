//! The manifests of the chart: what to install, and how the programs are run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// Objects with this label are not sent to the webhook: they stand for what was stored before there was one.
pub(crate) const UNADMITTED: &str = "attack/unadmitted";

/// How a container is run.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Memory limit in bytes.
    pub(crate) memory: u64,
}

/// What the chart makes.
#[derive(Debug)]
pub(crate) struct Manifest {
    objects: Vec<Value>,
    pub(crate) controller: Container,
    pub(crate) webhook: Container,
    /// The configuration file of the controller.
    pub(crate) config: String,
}

impl Manifest {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let all: Vec<Value> = serde_saphyr::from_multiple(&text).context("cannot parse the manifests")?;
        let all: Vec<Value> = all.into_iter().filter(Value::is_object).collect();
        let container = |name: &str| {
            let is_it =
                |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == name;
            let deployment = all.iter().find(is_it).with_context(|| format!("no Deployment {name}"))?;
            Container::read(deployment).with_context(|| format!("Deployment {name}"))
        };
        let mut config = all.iter().filter(|object| object["kind"] == "ConfigMap");
        let config = config.find_map(|object| object["data"]["config.yaml"].as_str());
        Ok(Self {
            controller: container("function-mesh-controller-manager")?,
            webhook: container("function-mesh-webhook")?,
            config: config.unwrap_or_default().to_owned(),
            objects: all,
        })
    }

    /// What to apply: all but the Deployments, whose pods nothing would run, with webhooks at this address.
    pub(crate) fn objects(&self, webhook: &str) -> Value {
        let mut objects: Vec<Value> =
            self.objects.iter().filter(|object| object["kind"] != "Deployment").cloned().collect();
        for object in &mut objects {
            let kind = object["kind"].as_str().unwrap_or_default();
            if !kind.ends_with("WebhookConfiguration") {
                continue;
            }
            for entry in object["webhooks"].as_array_mut().into_iter().flatten() {
                let path = entry["clientConfig"]["service"]["path"].as_str().unwrap_or_default().to_owned();
                entry["clientConfig"] = json!({ "url": format!("{webhook}{path}") });
                entry["objectSelector"] =
                    json!({ "matchExpressions": [{ "key": UNADMITTED, "operator": "DoesNotExist" }] });
            }
        }
        json!({ "apiVersion": "v1", "kind": "List", "items": objects })
    }
}

impl Container {
    fn read(deployment: &Value) -> anyhow::Result<Self> {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let limit = container["resources"]["limits"]["memory"].as_str().context("no memory limit")?;
        let memory = bytes(limit)?;
        let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
        let mut env = Vec::new();
        for entry in container["env"].as_array().into_iter().flatten() {
            let name = entry["name"].as_str().unwrap_or_default().to_owned();
            let source = &entry["valueFrom"];
            let value = if let Some(value) = entry["value"].as_str() {
                value.to_owned()
            } else if source["fieldRef"]["fieldPath"] == "metadata.namespace" {
                namespace.to_owned()
            } else if source["fieldRef"]["fieldPath"] == "metadata.name" {
                "attacked".to_owned()
            } else if source["resourceFieldRef"]["resource"] == "limits.memory" {
                memory.to_string()
            } else {
                bail!("the variable {name} has a source that this program does not know: {entry}");
            };
            env.push((name, value));
        }
        let args = container["args"].as_array().context("no arguments")?;
        let args = args.iter().filter_map(Value::as_str).map(|arg| expanded(arg, &env)).collect();
        Ok(Self { args, env, memory })
    }

    /// Replaces values of flags; a flag that the chart does not give is left out, unless it is to be added.
    pub(crate) fn with_flags(mut self, replaced: &BTreeMap<&str, String>, added: &[String]) -> Self {
        for arg in &mut self.args {
            let Some((name, _)) = arg.split_once('=') else { continue };
            if let Some(value) = replaced.get(name) {
                *arg = format!("{name}={value}");
            }
        }
        self.args.extend_from_slice(added);
        self
    }
}

/// An argument with its `$(NAME)`, as the kubelet expands them.
fn expanded(arg: &str, env: &[(String, String)]) -> String {
    env.iter().fold(arg.to_owned(), |arg, (name, value)| arg.replace(&format!("$({name})"), value))
}

/// A quantity of memory in bytes.
fn bytes(quantity: &str) -> anyhow::Result<u64> {
    let digits = quantity.trim_end_matches(char::is_alphabetic);
    let unit = match &quantity[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        unit => bail!("the memory limit {quantity:?} has the unknown unit {unit:?}"),
    };
    let number: u64 = digits.parse().with_context(|| format!("the memory limit {quantity:?}"))?;
    ensure!(number > 0, "the memory limit is zero");
    Ok(number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_memory_are_read() {
        assert_eq!(bytes("128Mi").unwrap(), 134_217_728);
        assert_eq!(bytes("1Gi").unwrap(), 1 << 30);
        assert_eq!(bytes("1000").unwrap(), 1000);
        assert!(bytes("1M").is_err() && bytes("Mi").is_err());
    }

    #[test]
    fn the_charts_manifests_are_understood() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/function-mesh-self-signed.yaml");
        let manifest = Manifest::read(&file).unwrap();
        assert!(manifest.webhook.memory >= 64 << 20, "{:?}", manifest.webhook);
        assert!(manifest.controller.memory >= 64 << 20, "{:?}", manifest.controller);
        let objects = manifest.objects("https://127.0.0.1:1");
        let text = objects.to_string();
        assert!(
            text.contains("https://127.0.0.1:1/validate-compute-functionmesh-io-v1alpha1-sink"),
            "{text}"
        );
        assert!(!text.contains("\"Deployment\""), "{text}");
        let flags = [("--webhook-addr", "127.0.0.1:1".to_owned())].into();
        let args = manifest.webhook.with_flags(&flags, &["--more".to_owned()]).args;
        assert!(args.contains(&"--webhook-addr=127.0.0.1:1".to_owned()), "{args:?}");
        assert_eq!(args.last().map(String::as_str), Some("--more"));
    }
}

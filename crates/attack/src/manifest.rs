//! Reads the chart's rendered manifests: the objects to apply, and the arguments and limits of the containers.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

/// The API server sends no object with this label to the webhook: it simulates objects stored before the webhook was
/// installed.
pub(crate) const UNADMITTED_LABEL: &str = "attack/unadmitted";

/// Arguments, environment and memory limit of a container.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Memory limit in bytes.
    pub(crate) memory: u64,
}

/// The rendered manifests.
#[derive(Debug)]
pub(crate) struct Manifest {
    objects: Vec<Value>,
    pub(crate) controller: Container,
    pub(crate) webhook: Container,
    /// The controller's configuration file.
    pub(crate) config: String,
}

impl Manifest {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let all: Vec<Value> = serde_saphyr::from_multiple(&text).context("cannot parse the manifests")?;
        let all: Vec<Value> = all.into_iter().filter(Value::is_object).collect();
        let container = |name: &str| {
            let is_match =
                |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == name;
            let deployment =
                all.iter().find(is_match).with_context(|| format!("Deployment {name} not found"))?;
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

    /// The objects to apply, with the webhooks at this URL. Omits the Deployments: the API server has no node.
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
                    json!({ "matchExpressions": [{ "key": UNADMITTED_LABEL, "operator": "DoesNotExist" }] });
            }
        }
        json!({ "apiVersion": "v1", "kind": "List", "items": objects })
    }
}

impl Container {
    fn read(deployment: &Value) -> anyhow::Result<Self> {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let limit = container["resources"]["limits"]["memory"].as_str().context("memory limit not set")?;
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
                bail!("unsupported source of the environment variable {name}: {entry}");
            };
            env.push((name, value));
        }
        let args = container["args"].as_array().context("args not set")?;
        let args = args.iter().filter_map(Value::as_str).map(|arg| expand(arg, &env)).collect();
        Ok(Self { args, env, memory })
    }

    /// Replaces the values of flags that the chart sets, ignores `replaced` flags that it does not set, and appends
    /// `added`.
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

/// Expands `$(NAME)` as the kubelet does.
fn expand(arg: &str, env: &[(String, String)]) -> String {
    env.iter().fold(arg.to_owned(), |arg, (name, value)| arg.replace(&format!("$({name})"), value))
}

/// Parses a memory quantity to bytes.
fn bytes(quantity: &str) -> anyhow::Result<u64> {
    let digits = quantity.trim_end_matches(char::is_alphabetic);
    let unit = match &quantity[digits.len()..] {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        unit => bail!("unsupported unit {unit:?} of the memory limit {quantity:?}"),
    };
    let number: u64 = digits.parse().with_context(|| format!("invalid memory limit {quantity:?}"))?;
    ensure!(number > 0, "invalid memory limit {quantity:?}: must be positive");
    Ok(number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_memory_quantities() {
        assert_eq!(bytes("128Mi").unwrap(), 134_217_728);
        assert_eq!(bytes("1Gi").unwrap(), 1 << 30);
        assert_eq!(bytes("1000").unwrap(), 1000);
        assert!(bytes("1M").is_err() && bytes("Mi").is_err());
    }

    #[test]
    fn reads_the_charts_manifests() {
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

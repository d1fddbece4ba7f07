//! Secrets of users are not logged, even on errors.
//!
//! A separate test binary, since the log is per process.

use anyhow::ensure;
use function_mesh_api::{Function, Sink};
use function_mesh_controller::{Options, ProtectedNamespaces, run};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{ControlPlane, LogBuffer, PATIENCE, apply, eventually, fixtures};
use function_mesh_workloads::Settings;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

const PASSWORD: &str = "correct-horse-battery-staple";

#[tokio::test]
async fn secrets_are_not_logged() -> anyhow::Result<()> {
    let log = LogBuffer::default();
    tracing_subscriber::fmt().with_env_filter("trace").with_ansi(false).with_writer(log.clone()).init();
    let plane = ControlPlane::shared().await?;
    let client = plane.client().await?;
    let namespace = plane.namespace(&client, "secrets").await?;
    let end = CancellationToken::new();
    let readiness = Readiness::new(end.clone());
    let options = Options {
        settings: Settings::default(),
        namespaces: Namespaces::single(&namespace),
        protected: ProtectedNamespaces::default(),
        concurrency: 4,
        pause_rollout: false,
        candidate: None,
        publish_settings: None,
        observer: None,
    };
    let (own, token) = (client.clone(), end.clone());
    let controller =
        tokio::spawn(async move { run(own, options, &prometheus::Registry::new(), &readiness, token).await });

    let mut sink = fixtures::sink("store");
    sink.sink_config = Some([("password".to_owned(), json!(PASSWORD))].into());
    let mut function = fixtures::python_function("shout");
    function.pulsar =
        serde_json::from_value(json!({ "pulsarConfig": "pulsar", "authConfig": { "genericAuth": {
        "clientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationToken",
        "clientAuthenticationParameters": format!("token:{PASSWORD}"),
    } } }))?;
    // The API server rejects this function's StatefulSet, with a message.
    let mut refused = fixtures::sink("refused");
    refused.sink_config.clone_from(&sink.sink_config);
    refused.pod = serde_json::from_value(json!({ "affinity": { "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "a", "operator": "Resembles" }] },
        ] },
    } } }))?;
    apply(&client, &namespace, &Sink::new("store", sink)).await?;
    apply(&client, &namespace, &Sink::new("refused", refused)).await?;
    apply(&client, &namespace, &Function::new("shout", function)).await?;

    let sets = Api::<StatefulSet>::namespaced(client.clone(), &namespace);
    for name in ["store-sink", "shout-function"] {
        let set = eventually(PATIENCE, async || Ok(sets.get(name).await?)).await?;
        let command = serde_json::to_string(&set)?;
        ensure!(command.contains(PASSWORD), "{name} has it on its command line, as the runner wants");
    }
    // Drift is logged with its field path.
    let drift =
        json!({ "spec": { "template": { "metadata": { "annotations": { "prometheus.io/port": "1" } } } } });
    sets.patch("store-sink", &PatchParams::default(), &Patch::Merge(drift)).await?;
    eventually(PATIENCE, async || {
        let text = log.text();
        ensure!(text.contains("applying changes"), "the drift is not logged yet");
        ensure!(text.contains("reconcile failed"), "the rejection is not logged yet");
        Ok(())
    })
    .await?;
    end.cancel();
    controller.await??;
    let text = log.text();
    let line = text.lines().find(|line| line.contains(PASSWORD));
    ensure!(line.is_none(), "logged: {line:?}");
    Ok(())
}

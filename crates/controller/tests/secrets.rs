//! Secrets of users are not logged, even on errors.
//!
//! A separate test binary, since the log is per process.

use anyhow::ensure;
use function_mesh_api::{Function, Sink};
use function_mesh_testkit::{
    ControllerHarness, LogBuffer, PATIENCE, TestNamespace, eventually, fixtures, test_options,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::json;

const PASSWORD: &str = "correct-horse-battery-staple";

#[tokio::test]
async fn secrets_are_not_logged() -> anyhow::Result<()> {
    let log = LogBuffer::default();
    tracing_subscriber::fmt().with_env_filter("trace").with_ansi(false).with_writer(log.clone()).init();
    let test = TestNamespace::new("secrets").await?;
    let controller = ControllerHarness::start(test.client.clone(), test_options(&[&test.namespace]));

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
    test.apply(&Sink::new("store", sink)).await?;
    test.apply(&Sink::new("refused", refused)).await?;
    test.apply(&Function::new("shout", function)).await?;

    for name in ["store-sink", "shout-function"] {
        let set = test.appears::<StatefulSet>(name).await?;
        let command = serde_json::to_string(&set)?;
        ensure!(command.contains(PASSWORD), "{name} has it on its command line, as the runner wants");
    }
    // Drift is logged with its field path.
    let drift =
        json!({ "spec": { "template": { "metadata": { "annotations": { "prometheus.io/port": "1" } } } } });
    test.patch::<StatefulSet>("store-sink", drift).await?;
    eventually(PATIENCE, async || {
        let logged = log.text();
        ensure!(logged.contains("applying changes"), "the drift is not logged yet");
        ensure!(logged.contains("reconcile failed"), "the rejection is not logged yet");
        Ok(())
    })
    .await?;
    controller.stop().await?;
    let logged = log.text();
    let line = logged.lines().find(|line| line.contains(PASSWORD));
    ensure!(line.is_none(), "logged: {line:?}");
    Ok(())
}

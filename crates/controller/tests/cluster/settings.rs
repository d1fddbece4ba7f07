//! The operator publishes its settings when it leads.

use anyhow::{Context, ensure};
use function_mesh_controller::{Options, SettingsTarget};
use function_mesh_testkit::{ControllerHarness, PATIENCE, TestNamespace, eventually, test_options};
use function_mesh_workloads::{PublishedSettings, Settings};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::harness::TestResult;

#[tokio::test]
async fn published_settings_are_those_of_the_latest_operator() -> TestResult {
    let test = TestNamespace::new("published").await?;
    for cleanup_deadline in [61, 62] {
        let settings = Settings { run_as_non_root: true, cleanup_deadline, ..Settings::default() };
        let target = SettingsTarget { namespace: test.namespace.clone(), name: "settings".to_owned() };
        let options = Options {
            settings: settings.clone(),
            concurrency: 1,
            publish_settings: Some(target),
            ..test_options(&[&test.namespace])
        };
        let operator = ControllerHarness::start(test.client.clone(), options);
        eventually(PATIENCE, async || {
            let config_map = test.find::<ConfigMap>("settings").await?.context("no ConfigMap yet")?;
            let published = PublishedSettings::from_config_map(&config_map)?;
            ensure!(published.settings == settings, "{published:?}");
            ensure!(published.watched_namespaces == [test.namespace.as_str()], "{published:?}");
            Ok(())
        })
        .await?;
        operator.stop().await?;
    }
    Ok(())
}

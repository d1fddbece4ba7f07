//! The operator publishes its settings when it leads.

use anyhow::{Context, ensure};
use function_mesh_controller::{Options, ProtectedNamespaces, SettingsTarget, run};
use function_mesh_kube::namespaces::Namespaces;
use function_mesh_serving::Readiness;
use function_mesh_serving::shutdown::CancellationToken;
use function_mesh_testkit::{PATIENCE, eventually};
use function_mesh_workloads::{PublishedSettings, Settings};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use crate::harness::{Harness, TestResult};

#[tokio::test]
async fn published_settings_are_those_of_the_latest_operator() -> TestResult {
    let harness = Harness::without_controller("published").await?;
    let api: Api<ConfigMap> = Api::namespaced(harness.client.clone(), &harness.namespace);
    for cleanup_deadline in [61, 62] {
        let settings = Settings { run_as_non_root: true, cleanup_deadline, ..Settings::default() };
        let options = Options {
            settings: settings.clone(),
            namespaces: Namespaces::single(&harness.namespace),
            protected: ProtectedNamespaces::default(),
            concurrency: 1,
            pause_rollout: false,
            candidate: None,
            publish_settings: Some(SettingsTarget {
                namespace: harness.namespace.clone(),
                name: "settings".to_owned(),
            }),
            observer: None,
        };
        let end = CancellationToken::new();
        let (client, readiness, token) = (harness.client.clone(), Readiness::new(end.clone()), end.clone());
        let operator = tokio::spawn(async move {
            run(client, options, &prometheus::Registry::new(), &readiness, token).await
        });
        eventually(PATIENCE, async || {
            let config_map = api.get_opt("settings").await?.context("no ConfigMap yet")?;
            let published = PublishedSettings::from_config_map(&config_map)?;
            ensure!(published.settings == settings, "{published:?}");
            ensure!(published.watched_namespaces == [harness.namespace.as_str()], "{published:?}");
            Ok(())
        })
        .await?;
        end.cancel();
        operator.await??;
    }
    Ok(())
}

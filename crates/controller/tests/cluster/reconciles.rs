//! Proof that nothing more is written: the controller reconciles every object again, instead of a wait for some seconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::ensure;
use function_mesh_api::{Function, FunctionMesh, Sink, Source};
use function_mesh_testkit::{Kind, PATIENCE, eventually};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;

use crate::harness::{Harness, TestResult};

/// The first reconcile may have begun before the change of its object, the second has not.
const ROUNDS: usize = 2;

impl Harness {
    /// Makes the controller reconcile each of its objects again, by an annotation that changes nothing else, and waits
    /// until it has.
    pub(crate) async fn reconcile_all(&self) -> TestResult {
        // After a start, of all objects that are there.
        self.have_reconciled(&BTreeMap::new(), &self.objects().await?).await?;
        for _ in 0..ROUNDS {
            let before = self.reconciles()?;
            let objects = BTreeMap::from([
                self.touch::<FunctionMesh>().await?,
                self.touch::<Function>().await?,
                self.touch::<Source>().await?,
                self.touch::<Sink>().await?,
            ]);
            self.have_reconciled(&before, &objects).await?;
        }
        Ok(())
    }

    async fn have_reconciled(
        &self,
        before: &BTreeMap<String, u64>,
        objects: &BTreeMap<String, u64>,
    ) -> TestResult {
        eventually(PATIENCE, async || {
            let now = self.reconciles()?;
            let count = |of: &BTreeMap<String, u64>, kind| of.get(kind).copied().unwrap_or_default();
            for (kind, number) in objects {
                let more = count(&now, kind) - count(before, kind);
                ensure!(more >= *number, "{more} reconciles of {number} objects of kind {kind}");
            }
            Ok(())
        })
        .await
    }

    /// Reconciles since the controller started, by kind.
    fn reconciles(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let mut found = BTreeMap::new();
        for family in self.controller()?.registry.gather() {
            if family.name() != "function_mesh_reconcile_total" {
                continue;
            }
            for metric in family.get_metric() {
                let kind = metric.get_label().iter().find(|label| label.name() == "kind");
                let kind = kind.map(|label| label.value().to_owned()).unwrap_or_default();
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let count = metric.get_counter().get_value() as u64;
                *found.entry(kind).or_default() += count;
            }
        }
        Ok(found)
    }

    async fn objects(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(BTreeMap::from([
            self.count::<FunctionMesh>().await?,
            self.count::<Function>().await?,
            self.count::<Source>().await?,
            self.count::<Sink>().await?,
        ]))
    }

    async fn count<K: Kind>(&self) -> anyhow::Result<(String, u64)> {
        let found = self.api::<K>().list(&ListParams::default()).await?.items;
        Ok((K::kind(&()).into_owned(), u64::try_from(found.len())?))
    }

    async fn touch<K: Kind>(&self) -> anyhow::Result<(String, u64)> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let found = self.api::<K>().list(&ListParams::default()).await?.items;
        for object in &found {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
            let change = json!({ "metadata": { "annotations": { "touched": number } } });
            self.patch::<K>(&object.name_any(), change).await?;
        }
        Ok((K::kind(&()).into_owned(), u64::try_from(found.len())?))
    }
}

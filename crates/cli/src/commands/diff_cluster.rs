//! `diff` against the objects of a cluster.

use std::collections::BTreeSet;

use function_mesh_api::BackendConfig;
use kube::ResourceExt;
use serde_json::Value;

use super::diff::{nothing_to_compare, rendered};
use super::inputs;
use crate::cluster::{Cluster, Connection};
use crate::diff::{Against, Change, Entry, compare, mark_deferred};
use crate::input::{Document, Files};
use crate::object_ref::{ObjectRef, Snapshot};
use crate::operator::{OperatorArgs, OperatorSettings};
use crate::rendering::{backends, backends_of};
use crate::{Failure, Streams};

/// Compares with the cluster. BackendConfigs that are not in the files are read from the cluster too.
pub(super) fn against_cluster(
    connection: &Connection,
    files: &Files,
    flags: &OperatorArgs,
    documents: &[Document],
    streams: &mut Streams<'_>,
) -> Result<(OperatorSettings, Option<Vec<Entry>>), Failure> {
    let cluster = Cluster::connect(connection)?;
    let namespace = files.namespace.as_deref().unwrap_or_else(|| cluster.namespace());
    let Some(objects) = inputs::objects(documents, namespace, streams)? else {
        return Ok((flags.offline()?, None));
    };
    let namespaces: BTreeSet<String> = objects.iter().filter_map(|(_, object)| object.namespace()).collect();
    if namespaces.is_empty() {
        return Err(nothing_to_compare(documents.len()));
    }
    let operator = cluster.settings(flags, namespaces.iter().map(String::as_str))?;
    let settings = &operator.settings;
    let mut before = Snapshot::new();
    for namespace in &namespaces {
        before.extend(cluster.objects_and_children(namespace)?);
    }
    if let Some(global) = settings.global_backend_config_ref().filter(|it| !namespaces.contains(it.namespace))
    {
        before.extend(cluster.backend_configs(global.namespace)?);
    }
    let mut all = backends(objects.iter().map(|(_, object)| object));
    let in_files: BTreeSet<ObjectRef> = all.iter().map(id_of).collect();
    for (id, object) in &before {
        // An undecodable BackendConfig counts as absent, as in the operator.
        if id.kind == "BackendConfig"
            && !in_files.contains(id)
            && let Ok(backend) = function_mesh_api::parse(object.clone())
        {
            all.push(backend);
        }
    }
    let Some(items) = rendered(objects, settings, &all, &before, streams)? else {
        return Ok((operator, None));
    };
    let mut entries = compare(items, &before, Against::Cluster);
    let changed: BTreeSet<ObjectRef> = entries
        .iter()
        .filter(|entry| entry.id.kind == "BackendConfig" && entry.change != Change::Unchanged)
        .map(|entry| entry.id.clone())
        .collect();
    mark_deferred(&mut entries, &before, |id, live| {
        let applied = backends_of(&all, settings, Some(&id.namespace));
        let status = |key: &str| live.pointer(&format!("/status/{key}")).and_then(Value::as_str);
        let generation = live.pointer("/metadata/generation");
        if generation.is_none() || generation != live.pointer("/status/observedGeneration") {
            return false;
        }
        let revisions = (status("globalBackendConfigRevision"), status("namespacedBackendConfigRevision"));
        applied.has_deferred_change(revisions, |config| {
            let id = id_of(config);
            // One that changes with the files will get a new revision.
            let live = before.get(&id).filter(|_| !changed.contains(&id));
            let revision = live.and_then(|live| live.pointer("/metadata/resourceVersion")?.as_str());
            Some(revision.unwrap_or("new").to_owned())
        })
    });
    Ok((operator, Some(entries)))
}

fn id_of(config: &BackendConfig) -> ObjectRef {
    ObjectRef::new("BackendConfig", &config.namespace().unwrap_or_default(), &config.name_any())
}

//! Meshes with a component that is scaled on its work: their flows, and what they may have together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use function_mesh_api::component::Role;
use function_mesh_api::topology::{Topology, Usage};
use function_mesh_api::{Function, FunctionMesh, FunctionMeshSpec, Sink, Source};
use function_mesh_kube::compact::Compact;
use function_mesh_observer::{Cause, Monotonic, Reading};
use function_mesh_scaling::{Decision, Flow, measured_ratio};
use function_mesh_workloads::names;
use kube::runtime::reflector::Store;
use kube::{Resource as _, ResourceExt as _};

use crate::component::prefix;
use crate::reconciler::key_of;

/// The meshes, by namespace and name.
#[derive(Debug, Default)]
pub(in super::super) struct Meshes(HashMap<MeshKey, Mesh>);

/// Namespace and name of a mesh.
pub(super) type MeshKey = (String, String);

/// A mesh.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    content: u64,
    /// Keys of its components, in the order of the graph. Empty for a mesh in which nothing is scaled on its work.
    pub(super) members: Vec<String>,
    pairs: Vec<(usize, usize)>,
    ratios: BTreeMap<(usize, usize), Reading<f64>>,
    /// `maxTotalReplicas`.
    pub(super) max_total: Option<u32>,
    pub(super) decided_at: Option<Monotonic>,
}

impl Meshes {
    /// Takes meshes that are new or changed.
    pub(in super::super) fn refresh(&mut self, objects: &Store<Compact<FunctionMesh>>) {
        let mut seen = BTreeSet::new();
        for object in objects.state() {
            if object.meta().deletion_timestamp.is_some() {
                continue;
            }
            let key = (object.namespace().unwrap_or_default(), object.name_any());
            let content = object.content();
            if self.0.get(&key).is_none_or(|known| known.content != content) {
                // One that cannot be decoded has single components, as far as scaling goes.
                let decoded = object.decode().ok();
                let mesh = decoded.map(|mesh| Mesh::of(&key, &mesh.spec)).unwrap_or_default();
                self.0.insert(key.clone(), Mesh { content, ..mesh });
            }
            seen.insert(key);
        }
        self.0.retain(|key, _| seen.contains(key));
    }

    /// A mesh with components that are scaled.
    pub(super) fn get(&self, key: &MeshKey) -> Option<&Mesh> {
        self.0.get(key).filter(|mesh| !mesh.members.is_empty())
    }

    pub(super) fn get_mut(&mut self, key: &MeshKey) -> Option<&mut Mesh> {
        self.0.get_mut(key).filter(|mesh| !mesh.members.is_empty())
    }
}

impl Mesh {
    fn of((namespace, name): &MeshKey, spec: &FunctionMeshSpec) -> Self {
        if !spec.components().any(|(_, _, view)| view.common.scaling.is_some()) {
            return Self::default();
        }
        let topology = Topology::of(spec);
        let key = |role: Role, component: &str| {
            let prefix = match role {
                Role::Function => prefix::<Function>(),
                Role::Source => prefix::<Source>(),
                Role::Sink => prefix::<Sink>(),
            };
            key_of(prefix, namespace, &names::component(name, component))
        };
        let writes = topology.edges().iter().filter(|edge| edge.usage == Usage::Writes);
        let pairs: BTreeSet<_> = writes.map(|edge| (edge.from, edge.to)).collect();
        let max_total = spec.scaling.as_ref().and_then(|scaling| scaling.max_total_replicas);
        Self {
            members: topology.components().iter().map(|node| key(node.role, &node.name)).collect(),
            pairs: pairs.into_iter().collect(),
            max_total: max_total.and_then(|most| u32::try_from(most).ok()),
            ..Self::default()
        }
    }

    /// The flows, as measured so far. A component without replicas produces nothing.
    pub(super) fn flows(&self, is_off: impl Fn(usize) -> bool) -> Vec<Flow> {
        let unknown = Reading::Unknown(Cause::TooFewSamples);
        let flow = |(from, to): &(usize, usize)| {
            let ratio = self.ratios.get(&(*from, *to)).copied().filter(|_| !is_off(*from));
            Flow { from: *from, to: *to, ratio: ratio.unwrap_or(unknown) }
        };
        self.pairs.iter().map(flow).collect()
    }

    /// Measures how many messages come out for each that goes in. What a component gets from several others is
    /// attributed to each of them by what it takes.
    pub(super) fn measure(&mut self, decisions: &[Decision]) {
        let taken = |from: usize| {
            let load = decisions.get(from).map(|decision| decision.terms.load);
            load.map_or(Reading::Unknown(Cause::NotAsked), |load| load.throughput)
        };
        let mut sums: BTreeMap<usize, Reading<f64>> = BTreeMap::new();
        for (from, to) in &self.pairs {
            let sum = sums.entry(*to).or_insert(Reading::Known(0.0));
            *sum = sum.zip(taken(*from)).map(|(sum, taken)| sum + taken);
        }
        for (from, to) in &self.pairs {
            let produced = decisions.get(*to).map(|decision| decision.terms.load.in_rate);
            let produced = produced.unwrap_or(Reading::Unknown(Cause::NotAsked));
            let all = sums.get(to).copied().unwrap_or(Reading::Unknown(Cause::NotAsked));
            let before = self.ratios.get(&(*from, *to)).copied();
            let before = before.unwrap_or(Reading::Unknown(Cause::TooFewSamples));
            self.ratios.insert((*from, *to), measured_ratio(before, produced, all));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use function_mesh_observer::Window;
    use function_mesh_scaling::{Component, History, Memory, Policy, decide};
    use serde_json::json;

    use super::*;

    fn mesh(scaling: &serde_json::Value) -> Mesh {
        let function = |name: &str, topics: &[&str], output: &str| json!({ "name": name, "input": { "topics": topics }, "output": { "topic": output } });
        let mut functions =
            vec![function("a", &["in"], "x"), function("b", &["in"], "x"), function("c", &["x"], "y")];
        functions[2]["scaling"] = scaling.clone();
        let spec = json!({ "functions": functions, "scaling": { "maxTotalReplicas": 7 } });
        Mesh::of(&("n".to_owned(), "m".to_owned()), &serde_json::from_value(spec).expect("a mesh"))
    }

    fn decision(in_rate: f64, throughput: f64) -> Decision {
        let (memory, window) = (Memory::default(), Window::new(4));
        let history = History { window: &window, memory: &memory };
        let now = Monotonic(Duration::from_mins(1));
        let mut decision = decide(history, &Policy::default(), &Component::default(), now);
        decision.terms.load.in_rate = Reading::Known(in_rate);
        decision.terms.load.throughput = Reading::Known(throughput);
        decision
    }

    #[test]
    fn only_meshes_with_scaling_are_decided_as_one() {
        let scaled = mesh(&json!({}));
        assert_eq!(scaled.members, ["function/n/m-a", "function/n/m-b", "function/n/m-c"]);
        assert_eq!((scaled.pairs.clone(), scaled.max_total), (vec![(0, 2), (1, 2)], Some(7)));
        assert!(mesh(&serde_json::Value::Null).members.is_empty());
    }

    #[test]
    fn what_comes_out_is_attributed_by_what_goes_in() {
        let mut mesh = mesh(&json!({}));
        mesh.measure(&[decision(30.0, 30.0), decision(10.0, 10.0), decision(80.0, 80.0)]);
        let ratios: Vec<_> = mesh.flows(|_| false).iter().map(|flow| flow.ratio.known()).collect();
        assert_eq!(ratios, [Some(2.0), Some(2.0)]);
        let off: Vec<_> = mesh.flows(|from| from == 1).iter().map(|flow| flow.ratio.is_known()).collect();
        assert_eq!(off, [true, false]);
    }
}

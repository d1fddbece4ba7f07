//! Tests of the graph: order, demand, wake and budget.

use super::*;
use crate::component::Hold;
use crate::learned::Learned;
use crate::memory::Memory;
use crate::policy::SleepPolicy;
use crate::testing::{at, point, steady, window};
use function_mesh_observer::Reading::{Known, Unknown};
use function_mesh_observer::Window;

fn flow(from: usize, to: usize, ratio: f64) -> Flow {
    Flow { from, to, ratio: Known(ratio) }
}

fn memory() -> Memory {
    Memory::new(Learned { rate_per_replica: Some(20.0), ..Learned::default() })
}

fn member<'a>(window: &'a Window, memory: &'a Memory, replicas: u32) -> Member<'a> {
    Member {
        history: History { window, memory },
        policy: Policy { min_replicas: 0, max_replicas: 50, ..Policy::default() },
        component: Component {
            replicas,
            ready: replicas,
            sleep: SleepPolicy::Allowed,
            has_subscriptions: Known(true),
            ..Component::default()
        },
        messages_from_outside: Unknown(Cause::NotAsked),
    }
}

fn replicas(decisions: &[Decision]) -> Vec<u32> {
    decisions.iter().map(|it| it.replicas).collect()
}

#[test]
fn producers_come_first_and_cycles_end() {
    let graph = Graph::new(4, vec![flow(2, 1, 1.0), flow(1, 0, 1.0), flow(0, 3, 1.0), flow(9, 0, 1.0)]);
    assert_eq!(graph.order(), [2, 1, 0, 3]);
    let cycle = Graph::new(3, vec![flow(0, 1, 1.0), flow(1, 2, 1.0), flow(2, 1, 1.0), flow(2, 2, 1.0)]);
    assert_eq!(cycle.order(), [0, 1, 2]);
    let mut all = Graph::new(3, vec![flow(0, 1, 1.0), flow(1, 2, 1.0), flow(2, 0, 1.0)]).order().to_vec();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
    assert_eq!(
        Graph::new(100_000, (1..100_000).map(|to| flow(to - 1, to, 1.0)).collect()).order().len(),
        100_000
    );
}

#[test]
fn demand_goes_downstream_by_the_output_ratio() {
    let (memory, busy, quiet) = (memory(), steady(7, 0, 80.0), steady(7, 0, 1.0));
    let members = [member(&busy, &memory, 5), member(&quiet, &memory, 1), member(&quiet, &memory, 1)];
    let graph = Graph::new(3, vec![flow(0, 1, 2.0), flow(1, 2, 0.5)]);
    let decisions = graph.decide(&members, None, at(70));
    assert_eq!(decisions[1].terms.upstream, Known(160.0));
    assert!(decisions[1].replicas >= 10, "{:?}", replicas(&decisions));
    assert_eq!(decisions[2].terms.upstream, Known(80.0));
    let unknown = Graph::new(3, vec![Flow { ratio: Unknown(Cause::NotAsked), ..flow(0, 1, 1.0) }]);
    assert_eq!(unknown.decide(&members, None, at(70))[1].replicas, 1);
}

#[test]
fn a_saturated_producer_passes_on_what_it_can_do() {
    let (memory, flood, quiet) = (memory(), steady(7, 90_000, 500.0), steady(7, 0, 1.0));
    let mut first = member(&flood, &memory, 2);
    first.policy.max_replicas = 2;
    let decisions =
        Graph::new(2, vec![flow(0, 1, 1.0)]).decide(&[first, member(&quiet, &memory, 1)], None, at(70));
    assert_eq!(decisions[1].terms.upstream, Known(40.0));
}

#[test]
fn a_sleeping_path_wakes_as_one() {
    let (memory, work, quiet) = (memory(), steady(7, 1, 0.0), steady(7, 0, 0.0));
    let flows = vec![flow(0, 1, 1.0), flow(1, 2, 1.0), flow(2, 1, 1.0), flow(3, 2, 1.0)];
    let graph = Graph::new(4, flows);
    let mut members = vec![
        member(&work, &memory, 0),
        member(&quiet, &memory, 0),
        member(&quiet, &memory, 0),
        member(&quiet, &memory, 0),
    ];
    let decisions = graph.decide(&members, None, at(70));
    assert_eq!(replicas(&decisions), [1, 1, 1, 0]);
    assert_eq!(decisions[1].reason, Reason::WakeWithUpstream);
    members[1].component.hold = Some(Hold::Suspended);
    assert_eq!(replicas(&graph.decide(&members, None, at(70))), [1, 0, 1, 0]);
    members[0] = member(&quiet, &memory, 0);
    assert_eq!(replicas(&graph.decide(&members, None, at(70))), [0, 0, 0, 0]);
}

#[test]
fn a_budget_is_shared() {
    let (memory, busy) = (memory(), steady(7, 0, 100.0));
    let late = window((1..8).map(|round| point(round * 10, 6_000, 100.0)).collect());
    let members = [member(&busy, &memory, 1), member(&late, &memory, 1)];
    let decisions = Graph::new(2, Vec::new()).decide(&members, Some(8), at(70));
    assert_eq!(replicas(&decisions).iter().sum::<u32>(), 8);
    assert_eq!(decisions[0].reason, Reason::Budget);
    assert!(decisions[1].replicas > decisions[0].replicas);
}

#[test]
fn ratios_move_slowly_and_ignore_what_is_unknown() {
    let first = measured_ratio(Unknown(Cause::NotAsked), Known(20.0), Known(10.0));
    assert_eq!(first, Known(2.0));
    assert_eq!(measured_ratio(first, Unknown(Cause::Failed), Known(10.0)), first);
    assert_eq!(measured_ratio(first, Known(0.0), Known(0.0)), first);
    assert_eq!(measured_ratio(first, Known(10.0), Known(10.0)), Known(1.8));
}

#[test]
fn a_mesh_gives_its_flows() {
    let mesh: function_mesh_api::FunctionMeshSpec = serde_json::from_value(serde_json::json!({
        "sources": [{ "name": "in", "output": { "topic": "raw" } }],
        "functions": [{ "name": "clean", "input": { "topics": ["raw"] }, "output": { "topic": "clean" },
                        "logTopic": "raw" }],
        "sinks": [{ "name": "out", "input": { "topics": ["clean"] } }],
    }))
    .unwrap();
    let graph = Graph::of(&Topology::of(&mesh), &BTreeMap::from([((1, 0), 1.0)]));
    assert_eq!(graph.order(), [1, 0, 2]);
    assert_eq!(graph.flows.len(), 2);
}

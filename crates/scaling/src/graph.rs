//! A mesh as a graph: demand goes downstream, and a sleeping path wakes as one.

use std::collections::{BTreeMap, BTreeSet};

use function_mesh_api::topology::{Topology, Usage};
use function_mesh_observer::{Cause, Monotonic, Reading};

use crate::budget::share;
use crate::component::Component;
use crate::decide::{History, decide};
use crate::decision::{Decision, Reason};
use crate::policy::Policy;

/// Smallest share by which a measured output ratio is moved to a new one.
const RATIO_WEIGHT: f64 = 0.2;

/// A component of a mesh, with all that its decision needs.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// What was observed and kept.
    pub history: History<'a>,
    /// What the user wants.
    pub policy: Policy,
    /// What the caller knows. Its `upstream` is set by the pass.
    pub component: Component,
    /// Messages a second from producers outside of the mesh, if they are counted apart from those of the mesh: they add to what the
    /// mesh is about to produce. Unknown, only the larger of that and of all arrivals counts.
    pub messages_from_outside: Reading<f64>,
}

/// Messages from one component to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// The producing component.
    pub from: usize,
    /// The consuming component.
    pub to: usize,
    /// Messages that it produces for each that it takes. See [`measured_ratio`].
    pub ratio: Reading<f64>,
}

/// The flows of a mesh, and an order in which producers come before consumers. In a cycle one flow goes back; demand does not
/// follow it, or it would grow in each pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    members: usize,
    flows: Vec<Flow>,
    order: Vec<usize>,
    /// Position in the order.
    position: Vec<usize>,
}

impl Graph {
    /// The graph of so many members. Flows from or to others are left out.
    pub fn new(members: usize, flows: Vec<Flow>) -> Self {
        let flows: Vec<_> =
            flows.into_iter().filter(|flow| flow.from < members && flow.to < members).collect();
        let order = order(members, &flows);
        let mut position = vec![0; members];
        for (index, member) in order.iter().enumerate() {
            if let Some(position) = position.get_mut(*member) {
                *position = index;
            }
        }
        Self { members, flows, order, position }
    }

    /// The graph of a mesh's topology: outputs that another component reads, with the ratios that were measured. Dead letters,
    /// late data and logs carry no demand.
    pub fn of(topology: &Topology, ratios: &BTreeMap<(usize, usize), f64>) -> Self {
        let pairs: BTreeSet<_> = topology
            .edges()
            .iter()
            .filter(|edge| edge.usage == Usage::Writes)
            .map(|edge| (edge.from, edge.to))
            .collect();
        let flow = |(from, to)| {
            let ratio = ratios.get(&(from, to)).copied();
            Flow { from, to, ratio: ratio.map_or(Reading::Unknown(Cause::TooFewSamples), Reading::Known) }
        };
        Self::new(topology.components().len(), pairs.into_iter().map(flow).collect())
    }

    /// The members, producers before consumers.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Flows to a member from those before it.
    fn inputs(&self) -> Vec<Vec<Flow>> {
        let mut inputs = vec![Vec::new(); self.members];
        for flow in &self.flows {
            let place = |member: usize| self.position.get(member).copied().unwrap_or(usize::MAX);
            if place(flow.from) < place(flow.to)
                && let Some(list) = inputs.get_mut(flow.to)
            {
                list.push(*flow);
            }
        }
        inputs
    }

    /// All members that messages of these reach, along all flows, cycles included.
    fn reached_from(&self, roots: &[usize]) -> Vec<bool> {
        let mut next = vec![Vec::new(); self.members];
        for flow in &self.flows {
            if let Some(list) = next.get_mut(flow.from) {
                list.push(flow.to);
            }
        }
        let mut is_reached = vec![false; self.members];
        let mut open = roots.to_vec();
        while let Some(member) = open.pop() {
            for to in next.get(member).into_iter().flatten() {
                if let Some(reached) = is_reached.get_mut(*to).filter(|reached| !**reached) {
                    *reached = true;
                    open.push(*to);
                }
            }
        }
        is_reached
    }

    /// Decides all members of a mesh in one pass: demand goes from producers to consumers and only ever raises theirs, a
    /// sleeping path wakes as one, and `max_total` is shared by lag.
    pub fn decide(&self, members: &[Member<'_>], max_total: Option<u32>, now: Monotonic) -> Vec<Decision> {
        let inputs = self.inputs();
        let mut decisions: Vec<Option<Decision>> = vec![None; members.len()];
        for index in &self.order {
            let Some(member) = members.get(*index) else { continue };
            let flows = inputs.get(*index).map(Vec::as_slice).unwrap_or_default();
            let upstream = upstream(member, flows, &decisions);
            let component = Component { upstream, ..member.component.clone() };
            let mut decision = decide(member.history, &member.policy, &component, now);
            let is_waking =
                |flow: &Flow| decisions.get(flow.from).and_then(Option::as_ref).is_some_and(is_waking);
            if flows.iter().any(is_waking) {
                // At once, since its own successors get what it is going to do.
                wake(&mut decision, member);
            }
            if let Some(place) = decisions.get_mut(*index) {
                *place = Some(decision);
            }
        }
        let mut decisions: Vec<_> = decisions.into_iter().flatten().collect();
        self.wake_all(&mut decisions, members);
        if let Some(max_total) = max_total {
            share(&mut decisions, max_total);
        }
        decisions
    }

    /// Wakes what sleeps behind a member that wakes.
    fn wake_all(&self, decisions: &mut [Decision], members: &[Member<'_>]) {
        let roots: Vec<_> =
            decisions.iter().enumerate().filter(|(_, it)| is_waking(it)).map(|(index, _)| index).collect();
        if roots.is_empty() {
            return;
        }
        let is_reached = self.reached_from(&roots);
        for ((decision, member), is_reached) in decisions.iter_mut().zip(members).zip(is_reached) {
            if is_reached {
                wake(decision, member);
            }
        }
    }
}

const fn is_waking(decision: &Decision) -> bool {
    decision.current == 0 && decision.replicas > 0
}

/// Wakes a member that sleeps. One that is held has no replicas for another reason.
fn wake(decision: &mut Decision, member: &Member<'_>) {
    if decision.replicas == 0 && member.component.hold.is_none() {
        decision.replicas = decision.terms.wish.unwrap_or(1).clamp(1, member.policy.max().max(1));
        decision.reason = Reason::WakeWithUpstream;
    }
}

/// What the members before this one are about to produce to it, and what comes from outside.
fn upstream(member: &Member<'_>, flows: &[Flow], decisions: &[Option<Decision>]) -> Reading<f64> {
    let rates = flows.iter().map(|flow| {
        let planned = decisions.get(flow.from).and_then(Option::as_ref).map(Decision::planned_rate);
        planned.unwrap_or(Reading::Unknown(Cause::NotAsked)).zip(flow.ratio).map(|(rate, ratio)| rate * ratio)
    });
    // It only raises the demand, so that a term that is unknown may be left out.
    let known = rates.filter(Reading::is_known);
    let sum = Reading::<f64>::sum(known);
    sum.map(|sum| sum + member.messages_from_outside.known().unwrap_or(0.0))
}

/// The output ratio of a flow after a round: produced by taken messages, moved slowly, since single rounds are noisy and
/// messages under way belong to another one. Unknown measures leave it as it is.
pub fn measured_ratio(before: Reading<f64>, produced: Reading<f64>, taken: Reading<f64>) -> Reading<f64> {
    let Reading::Known((produced, taken)) = produced.zip(taken) else { return before };
    if !(taken > 0.0 && produced >= 0.0 && produced.is_finite() && taken.is_finite()) {
        return before;
    }
    let ratio = produced / taken;
    Reading::Known(before.known().map_or(ratio, |before| before + RATIO_WEIGHT * (ratio - before)))
}

/// Depth first, so that each member comes after all that lead to it, but for the flow that closes a cycle.
fn order(members: usize, flows: &[Flow]) -> Vec<usize> {
    let mut next = vec![Vec::new(); members];
    for flow in flows {
        if let Some(list) = next.get_mut(flow.from) {
            list.push(flow.to);
        }
    }
    let has_input: BTreeSet<_> =
        flows.iter().filter(|flow| flow.from != flow.to).map(|flow| flow.to).collect();
    // Heads first, so that a cycle is entered where messages enter it.
    let heads = (0..members).filter(|member| !has_input.contains(member));
    let starts: Vec<_> = heads.chain(0..members).collect();
    let mut is_seen = vec![false; members];
    let mut reversed = Vec::with_capacity(members);
    for start in starts {
        // A stack instead of recursion: a mesh can be deep.
        let mut stack = vec![(start, false)];
        while let Some((member, is_left)) = stack.pop() {
            if is_left {
                reversed.push(member);
                continue;
            }
            if is_seen.get(member).copied().unwrap_or(true) {
                continue;
            }
            if let Some(seen) = is_seen.get_mut(member) {
                *seen = true;
            }
            stack.push((member, true));
            for to in next.get(member).into_iter().flatten().rev() {
                stack.push((*to, false));
            }
        }
    }
    reversed.reverse();
    reversed
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;

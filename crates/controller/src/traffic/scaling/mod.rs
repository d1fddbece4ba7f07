//! Scales components on their work: decides about each mesh as one, writes replicas, and reports why.
//!
//! ```text
//! rounds ──> inputs ──> memory ──> decision ──> look at the writers ──> scale subresource
//!                                     └──> board ──> reconcile ──> status.scaling
//! ```
//!
//! The decision is a pure function of what is observed, in [`function_mesh_scaling`]. A crash before the write costs
//! nothing: the next process decides the same. What was learned is in the status.

mod act;
mod demand;
mod inputs;
mod meshes;
mod publish;
mod report;
mod scaler;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use function_mesh_api::conditions::Reason as EventReason;
use function_mesh_observer::{Monotonic, UnixMillis, Window};
use function_mesh_scaling::{Decision, Graph, History, Hold, Member, Memory, Policy, Reason};

use super::restart::reference;
use super::{Message, Observer};
use act::{Ended, Order};
pub(super) use demand::Work;
use meshes::MeshKey;
pub(super) use meshes::Meshes;
pub(super) use scaler::Scaler;
use scaler::Writer;

pub(crate) use publish::observer_off;

/// Time between two looks at the size of batches.
pub(super) const CONSUMERS_INTERVAL: Duration = Duration::from_mins(1);
/// Time between two looks at another writer.
const WRITER_INTERVAL: Duration = Duration::from_secs(30);
/// Time until a change that the API server rejected is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Requests under way to the API server.
const MAX_ORDERS: usize = 8;

/// The end of an order.
#[derive(Debug)]
pub(super) struct OrderEnd {
    key: String,
    order: Order,
    ended: Ended,
    /// The decision in one line.
    note: String,
    reason: &'static str,
}

/// What is decided as one.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Group {
    Mesh(MeshKey),
    Single(String),
}

impl Observer {
    /// Decides about the components that had a round, and acts.
    pub(super) fn scale(&mut self, now: Monotonic, wall: UnixMillis) {
        let groups = self.groups(now, wall);
        for (group, members) in groups {
            if self.is_due(&group, &members, now) {
                self.decide(&group, &members, now, wall);
            }
        }
        let mut due = Vec::new();
        for (key, component) in &mut self.components {
            if let Some(report) = component.scaling_report(&self.settings, now) {
                self.board.publish(key, &component.uid, report);
                if let Some(kind) = self.kinds.get(component.kind) {
                    kind.trigger(&component.namespace, &component.name);
                }
            }
            if component.demand.work.is_automatic()
                && let Some(scaler) = &component.scaler
                && (scaler.change(now).is_some() || scaler.needs_check(WRITER_INTERVAL, now, wall))
            {
                due.push(key.clone());
            }
        }
        for key in due {
            if self.orders >= MAX_ORDERS {
                return;
            }
            self.order(&key, now);
        }
    }

    /// The groups with a component that had a round, with their members. The memories of members see the round.
    fn groups(&mut self, now: Monotonic, wall: UnixMillis) -> BTreeMap<Group, Vec<String>> {
        let mut groups = BTreeMap::new();
        for (key, component) in &mut self.components {
            let work = &component.demand.work;
            let Some(scaler) = component.scaler.as_mut().filter(|scaler| scaler.has_round) else { continue };
            let Some((workload, is_rolling_out)) = self.board.rollout(key, &component.uid) else { continue };
            if scaler.has_other_pods(workload.ready)
                && let Some(kind) = self.kinds.get(component.kind)
            {
                scaler.note_pods(&kind.pods(&component.namespace, &component.name, workload.wanted));
            }
            let of = scaler.component(work, &workload, is_rolling_out);
            scaler.observe(component.tracker.window(), &of, &policy(work, wall), now);
            let mesh = work.mesh.as_ref().map(|mesh| (component.namespace.clone(), mesh.clone()));
            let members = mesh.as_ref().and_then(|mesh| Some(&self.meshes.get(mesh)?.members));
            match mesh.zip(members.filter(|members| members.contains(key))) {
                Some((mesh, members)) => {
                    groups.entry(Group::Mesh(mesh)).or_insert_with(|| members.clone());
                }
                None if work.wanted.is_some() => {
                    groups.insert(Group::Single(key.clone()), vec![key.clone()]);
                }
                None => {}
            }
        }
        groups
    }

    /// Whether a group is decided now: all its members had a round, one that sleeps had one, or it is time.
    fn is_due(&self, group: &Group, members: &[String], now: Monotonic) -> bool {
        let Group::Mesh(mesh) = group else { return true };
        let longest = self.settings.limits.awake * 3 / 2;
        let decided_at = self.meshes.get(mesh).and_then(|mesh| mesh.decided_at);
        let mut all = members.iter().filter_map(|key| {
            let component = self.components.get(key)?;
            let is_asleep = component.demand.work.replicas == 0 && component.demand.work.may_sleep();
            Some((component.scaler.as_ref()?.has_round, is_asleep))
        });
        let is_all = all.clone().all(|(has_round, _)| has_round);
        is_all
            || decided_at.is_none_or(|at| now.since(at) >= longest)
            || all.any(|(has_round, is_asleep)| has_round && is_asleep)
    }

    fn decide(&mut self, group: &Group, keys: &[String], now: Monotonic, wall: UnixMillis) {
        let (nothing, nothing_kept) = (Window::new(1), Memory::default());
        let (mut members, mut unscaled) = (Vec::new(), 0);
        for key in keys {
            let known = self.components.get(key).and_then(|component| {
                let (workload, is_rolling_out) = self.board.rollout(key, &component.uid)?;
                Some((component, component.scaler.as_ref()?, workload, is_rolling_out))
            });
            let member = if let Some((component, scaler, workload, is_rolling_out)) = known {
                let work = &component.demand.work;
                let mut of = scaler.component(work, &workload, is_rolling_out);
                if work.wanted.is_none() {
                    // Its replicas are none of ours, and no part of the budget.
                    of.hold = Some(Hold::Paused);
                    unscaled += work.replicas;
                }
                let history = History { window: component.tracker.window(), memory: &scaler.memory };
                member(history, policy(work, wall), of)
            } else {
                let history = History { window: &nothing, memory: &nothing_kept };
                let hold = Some(Hold::Suspended);
                let of =
                    function_mesh_scaling::Component { replicas: 0, ready: 0, hold, ..Default::default() };
                member(history, Policy::default(), of)
            };
            members.push(member);
        }
        let is_off = |index: usize| {
            members
                .get(index)
                .is_none_or(|member| member.component.replicas == 0 && member.component.hold.is_some())
        };
        let mesh = if let Group::Mesh(key) = group { self.meshes.get(key) } else { None };
        let flows = mesh.map(|mesh| mesh.flows(is_off)).unwrap_or_default();
        let most = mesh.and_then(|mesh| mesh.max_total).map(|most| most.saturating_add(unscaled));
        let decisions = Graph::new(members.len(), flows).decide(&members, most, now);
        if let Group::Mesh(key) = group
            && let Some(mesh) = self.meshes.get_mut(key)
        {
            mesh.measure(&decisions);
            mesh.decided_at = Some(now);
        }
        for (key, decision) in keys.iter().zip(decisions) {
            self.take_decision(key, decision, now, wall);
        }
    }

    /// Takes a decision. One about a component without a round of its own is about old numbers, but for a path that wakes
    /// as one, and for a budget that others need.
    fn take_decision(&mut self, key: &str, decision: Decision, now: Monotonic, wall: UnixMillis) {
        let Some(component) = self.components.get_mut(key) else { return };
        let work = &component.demand.work;
        let policy = policy(work, wall);
        let Some(scaler) = &mut component.scaler else { return };
        let is_new = scaler.has_round
            || matches!(decision.reason, Reason::WakeWithUpstream | Reason::Wake | Reason::Budget);
        if work.wanted.is_some() && is_new {
            scaler.take(decision, &policy, now, wall);
        } else {
            scaler.has_round = false;
        }
    }

    /// Looks at who sets the replicas, and sets them if they are to change.
    fn order(&mut self, key: &str, now: Monotonic) {
        let Some(component) = self.components.get_mut(key) else { return };
        let (Some(scaler), Some(kind)) = (&mut component.scaler, self.kinds.get(component.kind)) else {
            return;
        };
        let decision = scaler.change(now);
        let note = decision.map(Decision::summary).unwrap_or_default();
        let reason = decision.map(|decision| decision.reason.name()).unwrap_or_default();
        let order = Order {
            path: kind.path(&component.namespace),
            name: component.name.clone(),
            uid: component.uid.clone(),
            known: scaler.known(),
            change: decision.map(|decision| (decision.current, decision.replicas)),
        };
        scaler.is_acting = true;
        self.orders += 1;
        let (client, results) = (self.shared.client.clone(), self.results.0.clone());
        let key = key.to_owned();
        tokio::spawn(async move {
            let ended = order.run(&client, SystemTime::now().into()).await;
            _ = results.send(Message::Order(Box::new(OrderEnd { key, order, ended, note, reason }))).await;
        });
    }

    /// Takes the end of an order.
    pub(super) fn take_order(&mut self, end: OrderEnd, now: Monotonic) {
        let OrderEnd { key, order, ended, note, reason } = end;
        self.orders = self.orders.saturating_sub(1);
        let Some(component) = self.components.get_mut(&key).filter(|it| it.uid == order.uid) else { return };
        let Some(kind) = self.kinds.get(component.kind) else { return };
        let said = component.reported_scaling().and_then(|before| before.message.clone());
        let regarding = reference(kind.name(), component);
        let Some(scaler) = &mut component.scaler else { return };
        scaler.is_acting = false;
        let event = match ended {
            Ended::Scaled => {
                let (_, after) = order.change.unwrap_or_default();
                scaler.scaled(after, SystemTime::now().into());
                self.metrics.scaled(kind.name(), reason);
                Some((true, EventReason::Scaled, note))
            }
            Ended::Free => {
                scaler.writer = Writer::Operator;
                None
            }
            Ended::Other(other) => {
                let hold = Reason::Held(Hold::OtherWriter(other.manager.clone())).to_string();
                let is_new =
                    !matches!(&scaler.writer, Writer::Other(before, _) if before.manager == other.manager);
                let end =
                    if other.until.is_some() { "for ten minutes" } else { "while it owns spec.replicas" };
                let note = format!("{hold}; the operator does not, {end}");
                scaler.hold(other, now);
                // A former process may have said so.
                (is_new && said.as_ref() != Some(&hold)).then_some((true, EventReason::ScalingHeld, note))
            }
            Ended::Stale => {
                scaler.drop_change();
                None
            }
            Ended::Failed(error) => {
                scaler.retry_after(now.after(RETRY));
                let error = function_mesh_kube::decode_error::message(&error);
                Some((false, EventReason::ScaleFailed, format!("failed to scale: {error}; {note}")))
            }
        };
        let Some((is_normal, reason, note)) = event else { return };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            shared.events.publish(&regarding, is_normal, reason, "Scale", &note).await;
        });
    }
}

fn member(history: History<'_>, policy: Policy, component: function_mesh_scaling::Component) -> Member<'_> {
    let messages_from_outside = function_mesh_observer::Reading::default();
    Member { history, policy, component, messages_from_outside }
}

/// The policy at a time. A component that is not scaled on its work keeps its replicas.
fn policy(work: &Work, wall: UnixMillis) -> Policy {
    match &work.wanted {
        Some(wanted) => wanted.policy.at(&wanted.schedules, wall),
        None => Policy { min_replicas: work.replicas, max_replicas: work.replicas, ..Policy::default() },
    }
}

//! The decision of this crate, fed as the observer would: points every ten seconds, and every five while asleep.

use std::time::Duration;

use function_mesh_observer::{Cause, Monotonic, Point, Reading, SubscriptionType, UnixMillis, Window};
use function_mesh_scaling::{
    Component, Flow, Graph, History, Member, Memory, Policy, SleepPolicy, measured_ratio,
};

use crate::node::NodeView;
use crate::world::Scaler;

/// The decision of this crate, with the defaults of its policy or the lean variant.
pub(crate) struct Ours {
    nodes: Vec<Own>,
    lean: Option<Lean>,
    prints: bool,
}

/// Busier replicas, and a shorter memory: for users to whom replicas matter more than a quiet cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lean {
    /// From 0 to 1.
    pub(crate) utilization: f64,
    pub(crate) down_window: Duration,
    pub(crate) catch_up: Duration,
}

impl Default for Lean {
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self { utilization: 1.0, down_window: minute, catch_up: minute }
    }
}

struct Own {
    window: Window,
    memory: Memory,
    last: Option<(u64, NodeView)>,
    lag_at: u64,
    /// Messages that it gets for each that the node before it takes.
    ratio: Reading<f64>,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            window: Window::new(64),
            memory: Memory::default(),
            last: None,
            lag_at: 0,
            ratio: Reading::default(),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn rate(before: u64, now: u64, elapsed: u64) -> f64 {
    now.saturating_sub(before) as f64 / elapsed as f64
}

impl Own {
    /// What the tracker of the observer makes of a round.
    fn observe(&mut self, second: u64, view: &NodeView) {
        let at = Monotonic(Duration::from_secs(second));
        let failed = Cause::Failed;
        let known = |count: u64| if view.is_up { Reading::Known(count) } else { Reading::Unknown(failed) };
        let of_last = |get: fn(&NodeView) -> u64| match &self.last {
            _ if !view.is_up => Reading::Unknown(failed),
            Some((then, last)) if second - then <= 60 => {
                Reading::Known(rate(get(last), get(view), second - then))
            }
            Some(_) => Reading::Unknown(Cause::Stale),
            None => Reading::Unknown(Cause::TooFewSamples),
        };
        let slow = |rate: f64| if view.is_up { Reading::Known(rate) } else { Reading::Unknown(failed) };
        let busy = match &self.last {
            Some((then, last)) if view.is_up && view.ready > 0 && second - then <= 60 => Reading::Known(
                (view.busy_seconds - last.busy_seconds)
                    / f64::from(view.ready)
                    / Duration::from_secs(second - then).as_secs_f64(),
            ),
            _ => Reading::Unknown(Cause::TooFewSamples),
        };
        let is_lag_due = second >= self.lag_at + 60;
        if is_lag_due {
            self.lag_at = second;
        }
        let point = Point {
            at,
            wall: UnixMillis(second * 1000),
            backlog: known(view.backlog),
            ready_backlog: known(view.backlog),
            unacked: known(view.unacked),
            in_rate: of_last(|view| view.published),
            out_rate: of_last(|view| view.delivered),
            ack_rate: slow(view.ack_rate),
            redelivery_rate: slow(0.0),
            lag: if is_lag_due || view.backlog == 0 {
                known(view.lag)
            } else {
                Reading::Unknown(Cause::NotAsked)
            },
            ready: view.ready,
            processed_rate: of_last(|view| view.processed),
            busy,
            exceptions: known(0),
            last_acked: Reading::default(),
        };
        self.window.push(point);
        if view.is_up {
            self.last = Some((second, view.clone()));
        }
    }
}

fn component(view: &NodeView) -> Component {
    Component {
        replicas: view.replicas,
        ready: view.ready,
        subscription: Some(if view.lanes > 1 {
            SubscriptionType::KeyShared
        } else {
            SubscriptionType::Shared
        }),
        messages_per_entry: Reading::Known(f64::from(view.batch)),
        is_synchronous: view.is_synchronous,
        has_subscriptions: Reading::Known(true),
        sleep: SleepPolicy::Allowed,
        ..Component::default()
    }
}

impl Scaler for Ours {
    fn name(&self) -> &'static str {
        if self.lean.is_some() { "Function Mesh, lean" } else { "Function Mesh" }
    }

    fn decide(&mut self, second: u64, views: &[NodeView]) -> Vec<Option<u32>> {
        self.nodes.resize_with(views.len(), Own::default);
        let now = Monotonic(Duration::from_secs(second));
        let is_asleep = views.iter().any(|view| view.replicas == 0);
        let is_due = |view: &NodeView| second.is_multiple_of(if view.replicas == 0 { 5 } else { 10 });
        if !second.is_multiple_of(if is_asleep { 5 } else { 10 }) {
            return vec![None; views.len()];
        }
        let components: Vec<_> = views.iter().map(component).collect();
        let policies: Vec<_> = views.iter().map(|view| self.policy(view)).collect();
        for ((own, view), (component, policy)) in
            self.nodes.iter_mut().zip(views).zip(components.iter().zip(&policies))
        {
            if is_due(view) {
                own.observe(second, view);
                own.memory.observe(&own.window, component, policy, now);
            }
        }
        let graph = self.graph(views, now);
        let members: Vec<_> = self
            .nodes
            .iter()
            .zip(components.iter().zip(&policies))
            .map(|(own, (component, policy))| Member {
                history: History { window: &own.window, memory: &own.memory },
                policy: *policy,
                component: component.clone(),
                messages_from_outside: Reading::Unknown(Cause::NotAsked),
            })
            .collect();
        let decisions = graph.decide(&members, None, now);
        for ((own, decision), policy) in self.nodes.iter_mut().zip(&decisions).zip(&policies) {
            own.memory.record(decision, policy, now);
            if self.prints {
                println!("{second:6} s: {}", decision.summary());
            }
        }
        decisions.iter().map(|decision| Some(decision.replicas)).collect()
    }
}

impl Ours {
    /// The defaults, printing each decision if asked to.
    pub(crate) const fn new(prints: bool) -> Self {
        Self { nodes: Vec::new(), lean: None, prints }
    }

    /// The lean variant.
    pub(crate) const fn lean(lean: Lean) -> Self {
        Self { nodes: Vec::new(), lean: Some(lean), prints: false }
    }

    fn policy(&self, view: &NodeView) -> Policy {
        let policy = Policy { min_replicas: 0, max_replicas: view.max, ..Policy::default() };
        match self.lean {
            Some(Lean { utilization, down_window, catch_up }) => {
                Policy { utilization, down_window, catch_up, ..policy }
            }
            None => policy,
        }
    }

    /// The graph, with the ratios of messages that a node takes and its successors get, smoothed over rounds.
    fn graph(&mut self, views: &[NodeView], now: Monotonic) -> Graph {
        let rate =
            |own: &Own, get: fn(&Point) -> Reading<f64>| own.window.newest(now, Duration::from_secs(1), get);
        let mut flows = Vec::new();
        for (from, view) in views.iter().enumerate() {
            for (to, _) in &view.outputs {
                let taken = rate(&self.nodes[from], |point| point.processed_rate);
                let produced = rate(&self.nodes[*to], |point| point.in_rate);
                let before = self.nodes[*to].ratio;
                let ratio = measured_ratio(before, produced, taken);
                self.nodes[*to].ratio = ratio;
                flows.push(Flow { from, to: *to, ratio });
            }
        }
        Graph::new(views.len(), flows)
    }
}

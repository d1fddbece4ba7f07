//! The published formulas of KEDA with an HPA, of Numaflow and of Flink's autoscaler, each with its defaults.
//!
//! Where a detail of the formula needs something that Pulsar Functions do not have, the variant that suits the formula
//! better is taken; `docs/scaling.md` lists them.

use std::collections::VecDeque;

use crate::node::NodeView;
use crate::world::Scaler;

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn replicas(number: f64) -> u32 {
    number as u32
}

#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

/// KEDA's Pulsar scaler: ten entries for each replica, by an HPA.
#[derive(Default)]
pub(crate) struct Keda {
    nodes: Vec<KedaNode>,
}

#[derive(Clone, Default)]
struct KedaNode {
    recommendations: VecDeque<(u64, u32)>,
    active_at: u64,
}

impl Scaler for Keda {
    fn name(&self) -> &'static str {
        "KEDA + HPA"
    }

    fn decide(&mut self, second: u64, views: &[NodeView]) -> Vec<Option<u32>> {
        self.nodes.resize_with(views.len(), KedaNode::default);
        let nodes = self.nodes.iter_mut().zip(views);
        nodes.map(|(node, view)| if view.is_up { node.decide(second, view) } else { None }).collect()
    }
}

impl KedaNode {
    fn decide(&mut self, second: u64, view: &NodeView) -> Option<u32> {
        if second.is_multiple_of(30) {
            if view.backlog > 0 {
                self.active_at = second;
                if view.replicas == 0 {
                    return Some(1);
                }
            } else if view.replicas > 0 && second - self.active_at >= 300 {
                return Some(0);
            }
        }
        if view.replicas == 0 || !second.is_multiple_of(15) {
            return None;
        }
        let current = view.replicas;
        let ratio = float(view.backlog) / 10.0 / f64::from(current);
        let wanted = if (ratio - 1.0).abs() <= 0.1 {
            current
        } else {
            replicas((float(view.backlog) / 10.0).ceil()).clamp(1, view.max)
        };
        self.recommendations.push_back((second, wanted));
        while self.recommendations.front().is_some_and(|(at, _)| second - at > 300) {
            self.recommendations.pop_front();
        }
        let largest = self.recommendations.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        // Up at once, by the larger of four and as many again; down to the largest recommendation of five minutes.
        let most = (current + 4).max(current * 2);
        Some(if wanted > current { wanted.min(most) } else { largest.min(current) })
    }
}

/// Numaflow's autoscaler, with its formula for sources.
#[derive(Default)]
pub(crate) struct Numaflow {
    nodes: Vec<NumaflowNode>,
}

#[derive(Clone, Default)]
struct NumaflowNode {
    processed: VecDeque<(u64, u64)>,
    scaled_at: u64,
}

impl Scaler for Numaflow {
    fn name(&self) -> &'static str {
        "Numaflow"
    }

    fn decide(&mut self, second: u64, views: &[NodeView]) -> Vec<Option<u32>> {
        self.nodes.resize_with(views.len(), NumaflowNode::default);
        let nodes = self.nodes.iter_mut().zip(views);
        nodes.map(|(node, view)| if view.is_up { node.decide(second, view) } else { None }).collect()
    }
}

impl NumaflowNode {
    fn decide(&mut self, second: u64, view: &NodeView) -> Option<u32> {
        if second.is_multiple_of(10) {
            self.processed.push_back((second, view.processed));
            while self.processed.front().is_some_and(|(at, _)| second - at > 120) {
                self.processed.pop_front();
            }
        }
        if !second.is_multiple_of(30) || second < self.scaled_at + 90 || view.ready != view.replicas {
            return None;
        }
        let wanted = self.wanted(view)?;
        let current = view.replicas;
        let next =
            if wanted > current { wanted.min(current + 2) } else { wanted.max(current.saturating_sub(2)) };
        if next != current {
            self.scaled_at = second;
        }
        Some(next)
    }

    fn wanted(&self, view: &NodeView) -> Option<u32> {
        let (first, last) = (self.processed.front()?, self.processed.back()?);
        let rate = float(last.1 - first.1) / float((last.0 - first.0).max(1));
        let pending = float(view.backlog * u64::from(view.batch));
        if pending <= 0.0 && rate <= 0.0 {
            return Some(0);
        }
        if view.replicas == 0 {
            return Some(u32::from(pending > 0.0));
        }
        if rate <= 0.0 {
            return Some(view.replicas);
        }
        let wanted = (pending / rate / 20.0 * f64::from(view.ready)).round();
        Some(replicas(wanted.min(pending)).clamp(1, view.max))
    }
}

/// The autoscaler of Flink's operator.
#[derive(Default)]
pub(crate) struct Flink {
    nodes: Vec<FlinkNode>,
    /// End of the stabilization after the last change; the job has one.
    stable_at: u64,
}

#[derive(Clone, Default)]
struct FlinkNode {
    /// Second, published, processed, busy seconds.
    samples: VecDeque<(u64, u64, u64, f64)>,
    true_rate: f64,
    down_since: Option<u64>,
    largest: u32,
}

impl Scaler for Flink {
    fn name(&self) -> &'static str {
        "Flink"
    }

    fn decide(&mut self, second: u64, views: &[NodeView]) -> Vec<Option<u32>> {
        self.nodes.resize_with(views.len(), FlinkNode::default);
        let mut wanted = vec![None; views.len()];
        if !second.is_multiple_of(60) || views.iter().any(|view| !view.is_up) || second < self.stable_at {
            return wanted;
        }
        let is_measured = self.nodes.iter_mut().zip(views).fold(true, |all, (node, view)| {
            node.sample(second, view);
            all && node.samples.len() > 2
        });
        if !is_measured {
            return wanted;
        }
        // What arrives, and what is caught up, go along the graph: components are in the order of the flow.
        let mut arrivals = vec![0.0; views.len()];
        let mut catch_up = vec![0.0; views.len()];

        for index in 0..views.len() {
            let own = self.nodes[index].in_rate();
            let is_head = !views.iter().any(|view| view.outputs.iter().any(|(to, _)| *to == index));
            arrivals[index] = if is_head { own } else { arrivals[index] };
            catch_up[index] += float(views[index].backlog * u64::from(views[index].batch)) / 1800.0;
            // The ratio of each output, as measured: exact here.
            for (to, ratio) in &views[index].outputs {
                let (rate, extra) = (arrivals[index] * ratio, catch_up[index] * ratio);
                arrivals[*to] += rate;
                catch_up[*to] += extra;
            }
        }
        for index in 0..views.len() {
            let next = self.nodes[index].decide(second, &views[index], arrivals[index], catch_up[index]);
            wanted[index] = next;
        }
        let is_change =
            wanted.iter().zip(views).any(|(next, view)| next.is_some_and(|it| it != view.replicas));
        if is_change {
            self.stable_at = second + 300;
            for node in &mut self.nodes {
                node.samples.clear();
            }
        }
        wanted
    }
}

impl FlinkNode {
    fn sample(&mut self, second: u64, view: &NodeView) {
        self.samples.push_back((second, view.published, view.processed, view.busy_seconds));
        while self.samples.front().is_some_and(|(at, ..)| second - at > 900) {
            self.samples.pop_front();
        }
    }

    fn in_rate(&self) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return 0.0 };
        float(last.1 - first.1) / float((last.0 - first.0).max(1))
    }

    fn decide(&mut self, second: u64, view: &NodeView, arrivals: f64, catch_up: f64) -> Option<u32> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let current = f64::from(view.replicas);
        if view.replicas == 0 {
            return Some(1);
        }
        let busy = last.3 - first.3;
        if busy > 0.0 {
            // Messages a second of all replicas, if they were busy all the time.
            self.true_rate = float(last.2 - first.2) / busy;
        }
        if self.true_rate <= 0.0 {
            return None;
        }
        let capacity = self.true_rate * current;
        let target = arrivals / 0.7 + catch_up + arrivals * 300.0 / 1800.0;
        let upper = arrivals + catch_up;
        let lower = arrivals / 0.4 + catch_up + arrivals * 300.0 / 1800.0;
        let next = replicas((target / self.true_rate - 1e-6).ceil()).clamp(1, view.max);
        if capacity < upper && next > view.replicas {
            self.down_since = None;
            return Some(next);
        }
        if capacity <= lower || next >= view.replicas || view.lag > 300 {
            self.down_since = None;
            return None;
        }
        let since = *self.down_since.get_or_insert_with(|| {
            self.largest = 0;
            second
        });
        self.largest = self.largest.max(next);
        if second - since < 3600 {
            return None;
        }
        self.down_since = None;
        Some(self.largest.max(replicas((current * 0.4).ceil())))
    }
}

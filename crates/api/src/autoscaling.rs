//! Who sets the replicas of a component: its author, a HorizontalPodAutoscaler, or the operator.

use crate::component::Common;
use crate::types::Scaling;

impl Common<'_> {
    /// Whether an autoscaler sets the replicas: a HorizontalPodAutoscaler or the operator. The mesh then does not own the
    /// field.
    pub fn is_autoscaled(&self) -> bool {
        self.max_replicas.is_some() || self.scaling.is_some_and(Scaling::is_automatic)
    }

    /// Bounds of the replicas that an autoscaler sets, and the number to begin with.
    pub fn autoscaled_bounds(&self) -> Option<(i32, i32)> {
        if let Some(max) = self.max_replicas {
            return Some((self.min_replicas.unwrap_or(1), max));
        }
        self.scaling.filter(|scaling| scaling.is_automatic()).map(|it| (it.least(), it.most()))
    }

    /// Whether the operator may let it sleep at zero replicas.
    pub fn may_sleep(&self) -> bool {
        let sleeps = |it: &Scaling| it.is_automatic() && it.may_reach_zero();
        self.max_replicas.is_none() && self.scaling.is_some_and(sleeps)
    }
}

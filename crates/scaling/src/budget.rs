//! `maxTotalReplicas` of a mesh: shared by lag.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::decision::{Decision, Limit, Reason};

/// What a component may get of a budget.
struct Claim {
    index: usize,
    /// What it gets in any case.
    given: u32,
    wanted: u32,
    /// Age of its oldest message, in seconds, and one more: without a lag the missing share counts.
    weight: f64,
}

impl Claim {
    /// The larger, the more it needs one replica more.
    fn urgency(&self) -> f64 {
        let missing = f64::from(self.wanted.saturating_sub(self.given)) / f64::from(self.wanted.max(1));
        self.weight * missing
    }
}

impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Claim {}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        self.urgency().total_cmp(&other.urgency()).then(other.index.cmp(&self.index))
    }
}

/// Reduces decisions until their replicas fit into the budget. Each component keeps its minimum, one replica if it is awake,
/// and what it has if it must not be changed or its lag is unknown; the rest goes, one by one, to the component whose lag
/// and missing share are the largest. Returns whether they fit: what is kept can exceed the budget.
pub fn share(decisions: &mut [Decision], max_total: u32) -> bool {
    let wanted: u64 = decisions.iter().map(|it| u64::from(it.replicas)).sum();
    if wanted <= u64::from(max_total) {
        return true;
    }
    let claims: Vec<_> = decisions.iter().enumerate().map(|(index, it)| claim(index, it)).collect();
    let kept: u64 = claims.iter().map(|claim| u64::from(claim.given)).sum();
    let mut rest = u64::from(max_total).saturating_sub(kept);
    let mut given: Vec<u32> = claims.iter().map(|claim| claim.given).collect();
    let mut heap: BinaryHeap<_> = claims.into_iter().filter(|claim| claim.given < claim.wanted).collect();
    while rest > 0 {
        let Some(mut claim) = heap.pop() else { break };
        claim.given += 1;
        rest -= 1;
        if let Some(given) = given.get_mut(claim.index) {
            *given = claim.given;
        }
        if claim.given < claim.wanted {
            heap.push(claim);
        }
    }
    for (decision, given) in decisions.iter_mut().zip(given) {
        if given < decision.replicas {
            decision.replicas = given;
            decision.limited_by = Some(Limit::Budget);
            decision.reason = Reason::Budget;
        }
    }
    kept <= u64::from(max_total)
}

fn claim(index: usize, decision: &Decision) -> Claim {
    let wanted = decision.replicas;
    let lag = decision.terms.load.lag.known();
    let is_kept = matches!(decision.reason, Reason::Held(_));
    let given = match lag {
        _ if is_kept => wanted,
        None => decision.current.max(1).min(wanted),
        Some(_) => decision.terms.bounds.min.max(1).min(wanted),
    };
    Claim { index, given, wanted, weight: lag.map_or(0.0, |lag| lag.as_secs_f64()) + 1.0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{at, steady};
    use crate::{Component, History, Hold, Memory, Policy, decide};
    use function_mesh_observer::{Cause, Reading};

    fn decision(replicas: u32, lag: Option<u64>) -> Decision {
        let (memory, window) = (Memory::default(), steady(7, 9, 10.0));
        let history = History { window: &window, memory: &memory };
        let mut decision = decide(history, &Policy::default(), &Component::default(), at(70));
        decision.replicas = replicas;
        decision.terms.load.lag =
            lag.map_or(Reading::Unknown(Cause::Failed), |lag| Reading::Known(Duration::from_secs(lag)));
        decision
    }

    fn shared(mut decisions: Vec<Decision>, total: u32) -> (Vec<u32>, bool) {
        let fits = share(&mut decisions, total);
        (decisions.iter().map(|it| it.replicas).collect(), fits)
    }

    #[test]
    fn the_rest_goes_to_the_largest_lag() {
        let of = |lags: [u64; 3]| lags.map(|lag| decision(10, Some(lag))).to_vec();
        assert_eq!(shared(of([0, 0, 0]), 30), (vec![10, 10, 10], true));
        assert_eq!(shared(of([0, 0, 0]), 12), (vec![4, 4, 4], true));
        let (given, _) = shared(of([600, 0, 60]), 15);
        assert_eq!(given.iter().sum::<u32>(), 15);
        assert!(given[0] > given[2] && given[2] > given[1] && given[1] >= 1, "{given:?}");
    }

    #[test]
    fn nobody_awake_gets_zero_and_holds_are_kept() {
        let mut held = decision(7, Some(0));
        held.reason = Reason::Held(Hold::Paused);
        let (given, fits) = shared(vec![held, decision(5, Some(900)), decision(3, Some(0))], 4);
        assert_eq!((given, fits), (vec![7, 1, 1], false));
    }

    #[test]
    fn an_unknown_lag_keeps_what_is_there() {
        let mut unknown = decision(8, None);
        unknown.current = 6;
        assert_eq!(shared(vec![unknown, decision(8, Some(300))], 10).0, [6, 4]);
    }
}

//! The Pulsar clusters of all components: which component asks which, and how many requests each may have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use function_mesh_observer::Monotonic;
use function_mesh_observer::cluster::{Cluster, Wanted};
use function_mesh_observer::requests::{Activity, Target};
use tokio::time::Instant;

use super::fetch::{self, Asking};
use super::observed::Place;
use super::{ClusterKey, Message, Observer};

/// Requests under way to all clusters, and to one.
const MAX_IN_FLIGHT: usize = 64;
const MAX_PER_CLUSTER: usize = 24;
/// Time of a request from which a cluster counts as slow.
const SLOW: Duration = Duration::from_secs(1);
/// Time between two looks for requests to begin, after an answer.
const REFILL: Duration = Duration::from_millis(200);
/// Topics of a cluster that the components of a Kubernetes namespace may have observed. A pattern counts as a hundred.
const MAX_TOPICS_PER_NAMESPACE: usize = 5_000;

/// A cluster that is asked.
pub(super) struct Asked {
    place: Place,
    pub(super) cluster: Cluster,
    wanted: Arc<Wanted>,
    /// When the log last said that the credentials cannot be read.
    pub(super) warned: Option<Monotonic>,
    /// Requests under way, to all its servers.
    pub(super) under_way: usize,
    /// How long requests take, on a moving average.
    pub(super) latency: Duration,
}

impl Asked {
    /// Requests that may begin: a slow cluster must not hold what others need.
    fn free(&self) -> usize {
        let most = if self.latency > SLOW { 2 } else { MAX_PER_CLUSTER };
        most.saturating_sub(self.under_way)
    }
}

impl Observer {
    /// Assigns components to clusters.
    pub(super) fn place(&mut self) {
        if self.is_placed {
            return;
        }
        self.is_placed = true;
        let now = self.board.now();
        let mut wanted: HashMap<ClusterKey, (Place, Wanted)> = HashMap::new();
        let mut topics: HashMap<(ClusterKey, String), usize> = HashMap::new();
        for component in self.components.values_mut() {
            match self.urls.get(&component.demand.config_map) {
                None => {}
                Some(Err(message)) => component.set_place(Err(message.clone()), now),
                Some(Ok(web)) => {
                    let access = self.settings.access.find(web, &component.namespace);
                    let place = Place { web: web.clone(), access };
                    let count = topics.entry((key_of(&place), component.namespace.clone())).or_default();
                    let interest = &component.demand.interest;
                    *count += interest.topics.len() + 100 * interest.patterns.len();
                    if *count > MAX_TOPICS_PER_NAMESPACE {
                        let namespace = &component.namespace;
                        let message =
                            format!("namespace {namespace} has more topics than the operator observes");
                        component.set_place(Err(message), now);
                    } else {
                        component.set_place(Ok(place), now);
                    }
                }
            }
            if let Ok(place) = &component.place {
                let (_, wanted) =
                    wanted.entry(key_of(place)).or_insert_with(|| (place.clone(), Wanted::default()));
                wanted.add(&component.demand.interest);
            }
        }
        self.clusters.retain(|key, _| wanted.contains_key(key));
        for (key, (place, wanted)) in wanted {
            let asked = self.clusters.entry(key).or_insert_with(|| {
                let brokers = place.access.brokers().iter().map(ToString::to_string).collect();
                let cluster = Cluster::new(place.web.as_str(), brokers);
                Asked {
                    place,
                    cluster,
                    wanted: Arc::default(),
                    warned: None,
                    under_way: 0,
                    latency: Duration::ZERO,
                }
            });
            let mut wanted = wanted;
            wanted.add_matched(asked.cluster.all_matched());
            asked.wanted = Arc::new(wanted);
        }
    }

    /// Lets further requests begin after an answer: the limits of a cluster are of requests under way. All of them may be
    /// answered long before the next look at what is due.
    pub(super) fn refill_soon(&mut self) {
        let passed = self.board.now().since(self.asked_at);
        self.refill_at.get_or_insert_with(|| Instant::now() + REFILL.saturating_sub(passed));
    }

    /// Begins further requests.
    pub(super) fn refill(&mut self) {
        let now = self.board.now();
        self.ask(now);
        if self.pods_postponed {
            self.ask_pods(now);
        }
    }

    /// Begins the requests that are due.
    pub(super) fn ask(&mut self, now: Monotonic) {
        (self.asked_at, self.refill_at) = (now, None);
        let mut targets: HashMap<ClusterKey, Vec<Target>> = HashMap::new();
        for (key, component) in &self.components {
            let Ok(place) = &component.place else { continue };
            let of = key_of(place);
            let Some(asked) = self.clusters.get(&of) else { continue };
            let Some(workload) = self.board.workload(key, &component.uid) else { continue };
            let is_draining = self.board.is_draining(key, &component.uid);
            // It starts again once nothing consumes its subscription.
            let activity =
                if is_draining { Activity::Asleep } else { component.demand.work.activity(&workload) };
            let (details, lag) = (is_draining || component.needs_details(now), component.needs_lag());
            let policies = component.demand.work.needs_policies();
            let target = asked.cluster.target(&component.demand.interest, activity, details, lag, policies);
            targets.entry(of).or_default().push(target);
        }
        // Each cluster gets its share of the remaining requests, so that a slow one does not delay the rest.
        let mut clusters = targets.len();
        for (key, targets) in targets {
            let Some(asked) = self.clusters.get_mut(&key) else { continue };
            let most =
                MAX_IN_FLIGHT.saturating_sub(self.in_flight).div_ceil(clusters.max(1)).min(asked.free());
            clusters -= 1;
            let requests = asked.cluster.begin(&targets, &self.settings.limits, most, now);
            for request in requests {
                self.in_flight += 1;
                asked.under_way += 1;
                let asking = Asking {
                    client: self.client.clone(),
                    place: asked.place.clone(),
                    wanted: Arc::clone(&asked.wanted),
                    metrics: Arc::clone(&self.metrics),
                    large: Arc::clone(&self.large),
                };
                let (results, key) = (self.results.0.clone(), key.clone());
                tokio::spawn(async move {
                    let begun = Instant::now();
                    let done = fetch::ask(&asking, &request).await;
                    _ = results.send(Message::Answer(key, request, done, begun.elapsed())).await;
                });
            }
        }
    }
}

/// The cluster of a component.
pub(super) fn key_of(place: &Place) -> ClusterKey {
    (place.web.clone(), place.access.index())
}

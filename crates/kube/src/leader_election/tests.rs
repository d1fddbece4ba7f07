use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;
use tower::service_fn;

use super::*;

fn lease(holder: &str, version: &str) -> Lease {
    Lease {
        metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(12),
            ..LeaseSpec::default()
        }),
    }
}

#[test]
fn renewed_lease_is_not_acquired() {
    let (mut observed, start) = (ObservedLease::default(), Instant::now());
    for second in 0..60 {
        let version = (second / 5).to_string();
        let now = start + Duration::from_secs(second);
        assert_eq!(observed.observe(Some(&lease("other", &version)), "me", now), Step::Wait);
    }
}

#[test]
fn expired_lease_is_acquired_after_its_duration() {
    let (mut observed, start) = (ObservedLease::default(), Instant::now());
    let mut observe_at =
        |seconds| observed.observe(Some(&lease("other", "1")), "me", start + Duration::from_secs(seconds));
    assert_eq!(observe_at(0), Step::Wait);
    assert_eq!(observe_at(11), Step::Wait);
    assert_eq!(observe_at(12), Step::Write);
}

#[test]
fn longer_duration_in_a_lease_is_respected() {
    for (seconds, taken_after) in [(1, 12), (12, 12), (60, 60), (-1, 12)] {
        let (mut observed, start) = (ObservedLease::default(), Instant::now());
        let mut lease = lease("other", "1");
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(seconds);
        let mut observe_at =
            |seconds| observed.observe(Some(&lease), "me", start + Duration::from_secs(seconds));
        assert_eq!(
            (observe_at(0), observe_at(taken_after - 1), observe_at(taken_after)),
            (Step::Wait, Step::Wait, Step::Write)
        );
    }
}

#[test]
fn missing_released_or_own_lease_is_acquired_at_once() {
    let now = Instant::now();
    assert_eq!(ObservedLease::default().observe(None, "me", now), Step::Create);
    assert_eq!(ObservedLease::default().observe(Some(&lease("", "1")), "me", now), Step::Write);
    assert_eq!(ObservedLease::default().observe(Some(&lease("me", "1")), "me", now), Step::Write);
    assert_eq!(ObservedLease::default().observe(Some(&Lease::default()), "me", now), Step::Write);
}

#[test]
fn deleted_lease_is_created_after_the_term_of_its_holder() {
    let (mut observed, start) = (ObservedLease::default(), Instant::now());
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(observed.observe(Some(&lease("other", "1")), "me", at(0)), Step::Wait);
    assert_eq!(observed.observe(Some(&lease("other", "2")), "me", at(2)), Step::Wait);
    assert_eq!(observed.observe(None, "me", at(4)), Step::Wait);
    assert_eq!(observed.observe(None, "me", at(13)), Step::Wait);
    assert_eq!(observed.observe(None, "me", at(14)), Step::Create);
    // Its holder had released it.
    assert_eq!(observed.observe(Some(&lease("", "3")), "me", at(15)), Step::Write);
    assert_eq!(observed.observe(None, "me", at(16)), Step::Create);
}

#[test]
fn claim_keeps_the_version_and_counts_transitions() {
    let me = candidate("me");
    let taken = me.claim(Some(lease("other", "7")));
    assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
    let spec = taken.spec.clone().expect("a spec");
    assert_eq!((spec.lease_transitions, spec.acquire_time.is_some()), (Some(1), true));
    let renewed = me.claim(Some(taken)).spec.expect("a spec");
    assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(1), spec.acquire_time));
}

/// A mock API server with one Lease.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    /// Whether it rejects a change of owners, as OwnerReferencesPermissionEnforcement does.
    rejects_owners: bool,
}

/// A fault of the connection of one client.
#[derive(Clone, Copy, Debug)]
enum Connection {
    Up,
    /// Requests are lost from then on.
    RequestsLostAfter(Duration),
    /// Requests are processed and responses are lost from then on.
    ResponsesLostAfter(Duration),
    /// Writes are processed after the first delay, and the response arrives after the second.
    Slow(Duration, Duration),
}

impl Server {
    fn client(&self, connection: Connection) -> Client {
        let (server, start) = (self.clone(), Instant::now());
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let is_write = request.method() != Method::GET;
                match connection {
                    Connection::RequestsLostAfter(after) if start.elapsed() >= after => pending().await,
                    Connection::ResponsesLostAfter(after) if start.elapsed() >= after => {
                        server.respond(request).await;
                        pending().await
                    }
                    Connection::Slow(before, after) if is_write => {
                        sleep(before).await;
                        let response = server.respond(request).await;
                        sleep(after).await;
                        Ok::<_, Infallible>(response)
                    }
                    _ => Ok(server.respond(request).await),
                }
            }
        });
        Client::new(service, "n")
    }

    async fn respond(&self, request: Request<Body>) -> Response<Body> {
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut held = self.lease.lock().unwrap();
        let refuse = |code: StatusCode, reason: &str| {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                "message": reason, "code": code.as_u16(), "metadata": {} });
            Response::builder().status(code).body(Body::from(status.to_string().into_bytes())).unwrap()
        };
        if method == Method::GET {
            return match &*held {
                Some(lease) => Response::new(Body::from(serde_json::to_vec(lease).unwrap())),
                None => refuse(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        let mut sent: Lease = serde_json::from_slice(&body).unwrap();
        let version = held.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if sent.metadata.resource_version != version {
            return refuse(StatusCode::CONFLICT, "Conflict");
        }
        let owners = held.as_ref().and_then(|lease| lease.metadata.owner_references.clone());
        if self.rejects_owners && sent.metadata.owner_references != owners {
            return refuse(StatusCode::FORBIDDEN, "Forbidden");
        }
        let next = version.map_or(1, |version| version.parse::<u64>().unwrap() + 1);
        sent.metadata.resource_version = Some(next.to_string());
        *held = Some(sent.clone());
        Response::new(Body::from(serde_json::to_vec(&sent).unwrap()))
    }
}

fn candidate(identity: &str) -> Candidate {
    let owner =
        OwnerReference { kind: "ServiceAccount".into(), uid: "1".into(), ..OwnerReference::default() };
    Candidate { namespace: "n".into(), lease: "l".into(), identity: identity.into(), owner: Some(owner) }
}

/// A replica that writes continuously, and the times of its writes.
struct Replica {
    leading: JoinHandle<Result<(), ElectionError>>,
    done: CancellationToken,
    _writing: AbortOnDropHandle<()>,
    writes: Arc<Mutex<Vec<Instant>>>,
}

impl Replica {
    fn start(identity: &'static str, client: Client) -> Self {
        let done = CancellationToken::new();
        let leadership = Leadership::candidate(done.clone());
        let writes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&writes);
        let cluster = service_fn(move |_: Request<Body>| {
            noted.lock().unwrap().push(Instant::now());
            async { Ok::<_, Infallible>(Response::new(Body::from(b"{\"metadata\":{}}".to_vec()))) }
        });
        let children = Api::<ConfigMap>::namespaced(leadership.fence.client(Client::new(cluster, "n")), "n");
        let writing = tokio::spawn(async move {
            loop {
                _ = children.create(&PostParams::default(), &ConfigMap::default()).await;
                sleep(Duration::from_millis(20)).await;
            }
        });
        let (ended, registry) = (done.clone(), Registry::new());
        let leading =
            tokio::spawn(
                async move { candidate(identity).lead(client, &registry, &leadership, &ended).await },
            );
        Self { leading, done, _writing: AbortOnDropHandle::new(writing), writes }
    }

    fn first(&self) -> Option<Instant> {
        self.writes.lock().unwrap().first().copied()
    }

    fn last(&self) -> Option<Instant> {
        self.writes.lock().unwrap().last().copied()
    }
}

/// Breaks the connection of a leader while another replica waits. Returns the time without writes.
async fn gap(connection: Connection) -> Duration {
    let server = Server::default();
    let mut leader = Replica::start("leader", server.client(connection));
    // The first replica acquires the Lease even over a slow connection.
    sleep(Duration::from_secs(4)).await;
    let follower = Replica::start("waits", server.client(Connection::Up));
    sleep(Duration::from_secs(50)).await;
    let error = (&mut leader.leading).await.unwrap().expect_err("it lost the lease");
    assert!(error.to_string().contains("lost leadership"), "{error}");
    let (last, first) = (leader.last().expect("it led"), follower.first().expect("the other one leads"));
    assert!(last < first, "{connection:?}: both act for {:?}", last - first);
    first - last
}

#[tokio::test(start_paused = true)]
async fn follower_leads_after_a_disconnected_leader_stopped() {
    for step in 0..9 {
        let after = Duration::from_secs(6) + Duration::from_millis(250) * step;
        for connection in [Connection::RequestsLostAfter(after), Connection::ResponsesLostAfter(after)] {
            let gap = gap(connection).await;
            assert!(gap + RENEW_DEADLINE >= LEASE_DURATION, "{connection:?}: {gap:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_acquisition_shortens_the_term_not_the_margin() {
    // The first renewal is as slow and times out: the term is the rest of the acquisition's.
    for (before, after) in [(0, 3900), (1900, 1900), (3900, 0), (2500, 1000)] {
        let connection = Connection::Slow(Duration::from_millis(before), Duration::from_millis(after));
        let server = Server::default();
        let start = Instant::now();
        let mut leader = Replica::start("leader", server.client(connection));
        sleep(Duration::from_mins(1)).await;
        let error = (&mut leader.leading).await.unwrap().expect_err("renewals time out");
        assert!(error.to_string().contains("failed to renew the lease within 8s"), "{error}");
        let (first, last) = (leader.first().expect("it led"), leader.last().expect("it led"));
        assert!(first - start >= Duration::from_millis(before + after));
        assert!(last - start < RENEW_DEADLINE, "{connection:?}: it writes until {:?}", last - start);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_leader_and_successor_do_not_overlap() {
    for (before, after) in [(0, 3900), (1900, 1900), (3900, 0)] {
        gap(Connection::Slow(Duration::from_millis(before), Duration::from_millis(after))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn released_lease_is_acquired_at_once_after_the_last_write() {
    let server = Server::default();
    let mut leader = Replica::start("leader", server.client(Connection::Up));
    sleep(Duration::from_secs(1)).await;
    let follower = Replica::start("waits", server.client(Connection::Up));
    sleep(Duration::from_mins(1)).await;
    assert!(follower.first().is_none(), "it is renewed all the time");
    leader.done.cancel();
    (&mut leader.leading).await.unwrap().expect("in order");
    sleep(Duration::from_secs(3)).await;
    let (last, first) = (leader.last().unwrap(), follower.first().expect("it leads"));
    assert!(last < first && first - last <= RETRY_PERIOD + Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn leader_of_a_deleted_lease_stops_and_nobody_overlaps() {
    let server = Server::default();
    let mut leader = Replica::start("leader", server.client(Connection::Up));
    sleep(Duration::from_secs(1)).await;
    let follower = Replica::start("waits", server.client(Connection::Up));
    sleep(Duration::from_secs(10)).await;
    *server.lease.lock().unwrap() = None;
    let deleted = Instant::now();
    sleep(Duration::from_secs(30)).await;
    let error = (&mut leader.leading).await.unwrap().expect_err("it lost the lease");
    assert!(error.to_string().contains("the lease was deleted"), "{error}");
    let (last, first) = (leader.last().expect("it led"), follower.first().expect("the other one leads"));
    assert!(last <= deleted + RETRY_PERIOD, "it writes for {:?} without a lease", last - deleted);
    assert!(first >= last + LEASE_DURATION - RENEW_DEADLINE, "the other one leads {:?} later", first - last);
}

#[tokio::test(start_paused = true)]
async fn lease_belongs_to_the_service_account_if_allowed() {
    for (rejects_owners, before) in [(false, None), (true, None), (false, Some("")), (true, Some(""))] {
        let server = Server { rejects_owners, ..Server::default() };
        *server.lease.lock().unwrap() = before.map(|holder| lease(holder, "1"));
        let replica = Replica::start("me", server.client(Connection::Up));
        sleep(Duration::from_secs(7)).await;
        assert!(replica.first().is_some(), "it leads");
        let lease = server.lease.lock().unwrap().clone().expect("a lease");
        let owners: Vec<_> =
            lease.metadata.owner_references.unwrap_or_default().into_iter().map(|owner| owner.uid).collect();
        let expected: &[&str] = if rejects_owners { &[] } else { &["1"] };
        assert_eq!(owners, expected, "after renewals; the lease before: {before:?}");
    }
}

#[test]
fn owner_is_added_once_and_to_those_that_are_there() {
    let me = candidate("me");
    let owned = with_owner(lease("", "1"), me.owner.as_ref());
    let twice = with_owner(owned.clone(), me.owner.as_ref());
    assert_eq!(twice, owned);
    let other = OwnerReference { uid: "2".into(), ..OwnerReference::default() };
    assert_eq!(with_owner(owned, Some(&other)).metadata.owner_references.unwrap_or_default().len(), 2);
}

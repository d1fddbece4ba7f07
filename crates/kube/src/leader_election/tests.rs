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
fn a_lease_that_is_renewed_is_never_taken() {
    let (mut observed, start) = (ObservedLease::default(), Instant::now());
    for second in 0..60 {
        let version = (second / 5).to_string();
        let now = start + Duration::from_secs(second);
        assert_eq!(observed.observe(Some(&lease("other", &version)), "me", now), Step::Wait);
    }
}

#[test]
fn a_lease_without_renewal_is_taken_after_its_duration_and_not_before() {
    let (mut observed, start) = (ObservedLease::default(), Instant::now());
    let mut look =
        |seconds| observed.observe(Some(&lease("other", "1")), "me", start + Duration::from_secs(seconds));
    assert_eq!(look(0), Step::Wait);
    assert_eq!(look(11), Step::Wait);
    assert_eq!(look(12), Step::Write);
}

#[test]
fn the_duration_in_a_lease_may_be_longer_than_ours_and_never_shorter() {
    for (seconds, taken_after) in [(1, 12), (12, 12), (60, 60), (-1, 12)] {
        let (mut observed, start) = (ObservedLease::default(), Instant::now());
        let mut lease = lease("other", "1");
        lease.spec.as_mut().unwrap().lease_duration_seconds = Some(seconds);
        let mut look = |seconds| observed.observe(Some(&lease), "me", start + Duration::from_secs(seconds));
        assert_eq!(
            (look(0), look(taken_after - 1), look(taken_after)),
            (Step::Wait, Step::Wait, Step::Write)
        );
    }
}

#[test]
fn what_is_nobodys_or_ours_is_taken_at_once() {
    let now = Instant::now();
    assert_eq!(ObservedLease::default().observe(None, "me", now), Step::Create);
    assert_eq!(ObservedLease::default().observe(Some(&lease("", "1")), "me", now), Step::Write);
    assert_eq!(ObservedLease::default().observe(Some(&lease("me", "1")), "me", now), Step::Write);
    assert_eq!(ObservedLease::default().observe(Some(&Lease::default()), "me", now), Step::Write);
}

#[test]
fn a_claim_keeps_the_version_and_counts_transitions() {
    let me = candidate("me");
    let taken = me.claim(Some(lease("other", "7")));
    assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
    let spec = taken.spec.clone().expect("a spec");
    assert_eq!((spec.lease_transitions, spec.acquire_time.is_some()), (Some(1), true));
    let renewed = me.claim(Some(taken)).spec.expect("a spec");
    assert_eq!((renewed.lease_transitions, renewed.acquire_time), (Some(1), spec.acquire_time));
}

/// An API server of one Lease.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
}

/// What happens to the Lease requests of one client.
#[derive(Clone, Copy, Debug)]
enum Line {
    Up,
    /// Nothing is carried out or answered from then on.
    SwallowedAfter(Duration),
    /// All is carried out, and nothing answered from then on.
    UnansweredAfter(Duration),
    /// Writes are carried out after this, and answered after that.
    Slow(Duration, Duration),
}

impl Server {
    fn client(&self, line: Line) -> Client {
        let (server, start) = (self.clone(), Instant::now());
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let is_write = request.method() != Method::GET;
                match line {
                    Line::SwallowedAfter(after) if start.elapsed() >= after => pending().await,
                    Line::UnansweredAfter(after) if start.elapsed() >= after => {
                        server.answer(request).await;
                        pending().await
                    }
                    Line::Slow(before, after) if is_write => {
                        sleep(before).await;
                        let answer = server.answer(request).await;
                        sleep(after).await;
                        Ok::<_, Infallible>(answer)
                    }
                    _ => Ok(server.answer(request).await),
                }
            }
        });
        Client::new(service, "n")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
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
        let next = version.map_or(1, |version| version.parse::<u64>().unwrap() + 1);
        sent.metadata.resource_version = Some(next.to_string());
        *held = Some(sent.clone());
        Response::new(Body::from(serde_json::to_vec(&sent).unwrap()))
    }
}

fn candidate(identity: &str) -> Candidate {
    Candidate { namespace: "n".into(), lease: "l".into(), identity: identity.into() }
}

/// A program that writes all the time, and when it did.
struct Program {
    leading: JoinHandle<Result<(), ElectionError>>,
    done: CancellationToken,
    _writing: AbortOnDropHandle<()>,
    writes: Arc<Mutex<Vec<Instant>>>,
}

impl Program {
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

/// Lets a leader lose its line, with another program waiting, and gives how long nobody wrote.
async fn gap(line: Line) -> Duration {
    let server = Server::default();
    let mut leader = Program::start("leader", server.client(line));
    // Slow as its line may be, it is the first.
    sleep(Duration::from_secs(4)).await;
    let waits = Program::start("waits", server.client(Line::Up));
    sleep(Duration::from_secs(50)).await;
    let error = (&mut leader.leading).await.unwrap().expect_err("it lost the lease");
    assert!(error.to_string().contains("lost leadership"), "{error}");
    let (last, first) = (leader.last().expect("it led"), waits.first().expect("the other one leads"));
    assert!(last < first, "{line:?}: both act for {:?}", last - first);
    first - last
}

#[tokio::test(start_paused = true)]
async fn the_other_begins_well_after_a_leader_whose_requests_are_swallowed_has_stopped() {
    for step in 0..9 {
        let after = Duration::from_secs(6) + Duration::from_millis(250) * step;
        for line in [Line::SwallowedAfter(after), Line::UnansweredAfter(after)] {
            let gap = gap(line).await;
            assert!(gap + RENEW_DEADLINE >= LEASE_DURATION, "{line:?}: {gap:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_acquisition_takes_from_the_leaders_time_and_not_from_the_margin() {
    // The first renewal is as slow, and times out: leadership is what is left of the acquisition.
    for (before, after) in [(0, 3900), (1900, 1900), (3900, 0), (2500, 1000)] {
        let line = Line::Slow(Duration::from_millis(before), Duration::from_millis(after));
        let server = Server::default();
        let start = Instant::now();
        let mut leader = Program::start("leader", server.client(line));
        sleep(Duration::from_mins(1)).await;
        let error = (&mut leader.leading).await.unwrap().expect_err("renewals time out");
        assert!(error.to_string().contains("failed to renew the lease within 8s"), "{error}");
        let (first, last) = (leader.first().expect("it led"), leader.last().expect("it led"));
        assert!(first - start >= Duration::from_millis(before + after));
        assert!(last - start < RENEW_DEADLINE, "{line:?}: it writes until {:?}", last - start);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_leader_and_its_successor_do_not_overlap() {
    for (before, after) in [(0, 3900), (1900, 1900), (3900, 0)] {
        gap(Line::Slow(Duration::from_millis(before), Duration::from_millis(after))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_taken_at_once_and_after_the_last_write() {
    let server = Server::default();
    let mut leader = Program::start("leader", server.client(Line::Up));
    sleep(Duration::from_secs(1)).await;
    let waits = Program::start("waits", server.client(Line::Up));
    sleep(Duration::from_mins(1)).await;
    assert!(waits.first().is_none(), "it is renewed all the time");
    leader.done.cancel();
    (&mut leader.leading).await.unwrap().expect("in order");
    sleep(Duration::from_secs(3)).await;
    let (last, first) = (leader.last().unwrap(), waits.first().expect("it leads"));
    assert!(last < first && first - last <= RETRY_PERIOD + Duration::from_millis(50));
}

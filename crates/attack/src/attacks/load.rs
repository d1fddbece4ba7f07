//! Load: many objects, patches and scrapes.

use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::generate;
use crate::manifest::UNADMITTED_LABEL;
use crate::target::Target;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn metrics(target: Target) {
    let functions = target.path("functions");
    let spec = format!(r#","funcConfig":{{"a":{}}}"#, generate::expensive_list(100_000));
    for number in 0..12 {
        let body = generate::function(&format!("large-{number}"), "", &spec);
        target.create(&target.mallory, &functions, body, REQUEST_TIMEOUT).await;
    }
    let work = (0..8_usize).map(|worker| {
        let (target, address) = (&target, target.metrics[worker % 2]);
        async move {
            while !target.is_over() {
                let scrape = async {
                    let mut stream = TcpStream::connect(address).await?;
                    stream
                        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                        .await?;
                    let mut answer = Vec::new();
                    stream.read_to_end(&mut answer).await?;
                    std::io::Result::Ok(
                        String::from_utf8_lossy(&answer).chars().skip(9).take(3).collect::<String>(),
                    )
                };
                let answer = timeout(REQUEST_TIMEOUT, scrape).await.ok().and_then(Result::ok);
                if answer.is_none() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                target.count(format!("get {}", answer.unwrap_or_else(|| "failed".to_owned())));
            }
        }
    });
    join_all(work).await;
}

pub(super) async fn broken(target: Target) {
    let functions = target.path("functions");
    let label = format!(r#","labels":{{"{UNADMITTED_LABEL}":"true"}}"#);
    let work = (0..2_usize).map(|worker| {
        let (target, functions, label) = (&target, &functions, &label);
        async move {
            for round in 0_usize.. {
                for number in (worker..2).step_by(2) {
                    if target.is_over() {
                        return;
                    }
                    // A different message with each patch, so that Events cannot be aggregated.
                    let topic = format!("no-tenant/{}/{round}/x/y", "a".repeat(1 + (round + number) % 7));
                    let spec = format!(r#","input":{{"topics":["{topic}"]}}"#);
                    let name = format!("broken-{number}");
                    if round == 0 {
                        let body = generate::function(&name, label, "");
                        target.create(&target.mallory, functions, body, REQUEST_TIMEOUT).await;
                    } else {
                        let patch = format!(r#"{{"spec":{{{}}}}}"#, spec.trim_start_matches(','));
                        target.patch(&target.mallory, &format!("{functions}/{name}"), patch).await;
                    }
                }
            }
        }
    });
    join_all(work).await;
}

pub(super) async fn annotations(target: Target) {
    let functions = target.path("functions");
    let work = (0..8_usize).map(|worker| {
        let (target, functions) = (&target, &functions);
        async move {
            for round in 0_u32.. {
                for number in (worker..300).step_by(8) {
                    if target.is_over() {
                        return;
                    }
                    let name = format!("busy-{number}");
                    if round == 0 {
                        let body = generate::function(&name, "", "");
                        target.create(&target.mallory, functions, body, REQUEST_TIMEOUT).await;
                    } else {
                        let patch = format!(r#"{{"metadata":{{"annotations":{{"round":"{round}"}}}}}}"#);
                        target.patch(&target.mallory, &format!("{functions}/{name}"), patch).await;
                    }
                }
            }
        }
    });
    join_all(work).await;
}

pub(super) async fn large_mesh(target: Target) {
    let path = target.path("functionmeshes");
    target.create(&target.mallory, &path, generate::patterns("large", "", 0, 2000), REQUEST_TIMEOUT).await;
    target.wait_until_over().await;
}

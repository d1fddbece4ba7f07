//! How often viewers get updates, and for how long pages are kept.

use serde_json::json;

use super::*;

fn change(number: usize) -> Change {
    let metadata = json!({ "namespace": "shop", "name": "f", "generation": 1 });
    let status = json!({ "phase": "Ready", "observedGeneration": 1, "traffic": { "backlog": number } });
    Change::Apply("Function".into(), Box::new(json!({ "metadata": metadata, "status": status })))
}

fn standalone() -> Subject {
    Subject::Mesh(MeshKey { namespace: "shop".to_owned(), name: "-".to_owned() })
}

fn view(hub: &Hub) -> Viewer {
    hub.view(&standalone(), &Visible::all(), None).unwrap()
}

#[tokio::test(start_paused = true)]
async fn updates_are_at_most_two_a_second() {
    let hub = Hub::new(Vec::new(), Times::default());
    let shutdown = CancellationToken::new();
    tokio::spawn(hub.clone().run(shutdown.clone()));
    let mut viewer = view(&hub);
    let counting = tokio::spawn(async move {
        let mut events = Vec::new();
        while let Ok(Some(more)) = timeout(Duration::from_secs(5), viewer.next()).await {
            events.extend(more);
        }
        events
    });
    for number in 0..1000 {
        hub.apply(change(number));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let events = counting.await.unwrap();
    // A snapshot, and the changes of ten seconds.
    assert!((15..=22).contains(&events.len()), "{}", events.len());
    assert!(events.last().unwrap().contains("\"backlog\":999"), "the last change is not lost");
    shutdown.cancel();
}

#[tokio::test]
async fn a_viewer_that_reads_late_gets_a_snapshot() {
    let hub = Hub::new(Vec::new(), Times::default());
    hub.apply(change(0));
    let (mut fast, mut slow) = (view(&hub), view(&hub));
    slow.next().await.unwrap();
    fast.next().await.unwrap();
    for number in 1..=1000 {
        hub.apply(change(number));
        hub.publish();
        let events = fast.next().await.unwrap();
        assert!(events.len() == 1 && events[0].contains("event: delta\n"), "{events:?}");
    }
    let events = slow.next().await.unwrap();
    assert_eq!(events.len(), 1);
    assert!(events[0].contains("event: snapshot\n") && events[0].contains("\"backlog\":1000"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_without_viewers_are_dropped_after_a_while() {
    let hub = Hub::new(Vec::new(), Times::default());
    let shutdown = CancellationToken::new();
    tokio::spawn(hub.clone().run(shutdown.clone()));
    let viewer = view(&hub);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(hub.pages(), 1);
    drop(viewer);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(hub.pages(), 1, "for one that returns");
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(hub.pages(), 0);
    shutdown.cancel();
}

//! Waiting for a purchase to be stored, in paused time.

use shop_core::ingest::{Ingest, IngestOptions};
use shop_http::{PurchasesRole, ServiceKind};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::prelude::*;

const ID: &str = "00000000-0000-0000-0000-000000000008";

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_insert_in_the_same_process() {
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let faults = Faults::new();
    let source = Arc::new(log.source("group"));
    let letters = Arc::new(log.dead_letters());
    let stored = faults.store(Arc::new(store.clone()));
    let ingest = Ingest::new(source, stored, letters, IngestOptions::default());
    let mut purchases = PurchasesRole::new(Arc::new(log.sink()), Arc::new(store));
    purchases.ingest = Some(ingest.monitor());
    let facing = router(
        Parts::new(ServiceKind::Facing, purchases),
        HttpOptions::default(),
    );
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
    // Between two polls.
    let time = Duration::from_millis(1_215);
    faults.once(Call::Insert, Fault::Delay(time));
    let path = |id: &str| format!("/v1/purchases?userid=u1&wait_for={id}");
    let start = Instant::now();
    let bought = post(
        &facing,
        "/v1/purchases",
        r#"{"username":"ada","userid":"u1","price":29.99}"#,
    )
    .await;
    let response = get(&facing, &path(bought.header("x-purchase-id").unwrap())).await;
    assert_eq!(response.header("x-purchase-pending"), None);
    let waited = start.elapsed();
    assert!(
        (time..time + Duration::from_millis(10)).contains(&waited),
        "{waited:?}"
    );

    // After ingest has stopped, no notification will arrive.
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    let start = Instant::now();
    assert_eq!(
        get(&facing, &path(ID)).await.header("x-purchase-pending"),
        Some("true")
    );
    assert!(start.elapsed() >= Duration::from_secs(2));
}

//! Waiting for a purchase to be stored, in paused time.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_http::{HttpOptions, Parts, PurchasesRole, ServiceKind, router};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::shop::{Shop, get, post};

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

#[tokio::test(start_paused = true)]
async fn wait_is_capped() {
    let shop = Shop::new();
    for (path, status) in [
        ("/v1/purchases?userid=u1", StatusCode::OK),
        ("/v1/summary?userid=u1", StatusCode::OK),
        ("/getAllUserBuys/u1?limit=1", StatusCode::OK),
        (
            "/v1/purchases/00000000-0000-0000-0000-000000000008?",
            StatusCode::NOT_FOUND,
        ),
    ] {
        for (wait, seconds) in [
            ("", 2.0),
            ("&wait=0.5", 0.5),
            ("&wait=0", 0.0),
            ("&wait=10", 10.0),
        ] {
            let start = Instant::now();
            let response = get(&shop.facing, &format!("{path}&wait_for={ID}{wait}")).await;
            assert_eq!(
                (response.status, response.header("x-purchase-pending")),
                (status, Some("true")),
                "{path}"
            );
            let waited = start.elapsed().as_secs_f64();
            assert!((waited - seconds).abs() < 0.1, "{path}{wait}: {waited}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn read_your_writes_waits_for_the_last_purchase() {
    let mut options = HttpOptions::default();
    options.read_your_writes = true;
    let shop = Shop::with(options);
    post(
        &shop.facing,
        "/buy",
        r#"{"username":"ada","userid":"u1","price":29.99}"#,
    )
    .await;
    // One user's name is another user's id: one wait is for both.
    post(
        &shop.facing,
        "/buy",
        r#"{"username":"u1","userid":"ada","price":29.99}"#,
    )
    .await;
    // Ingest does not run yet: the listing waits, then reports a pending purchase.
    for path in [
        "/getAllUserBuys/u1",
        "/getAllUserBuys/ada",
        "/v1/purchases?username=u1",
        "/v1/summary?username=ada",
    ] {
        let start = Instant::now();
        let response = get(&shop.facing, path).await;
        assert_eq!(
            response.header("x-purchase-pending"),
            Some("true"),
            "{path}"
        );
        assert!(
            (2.0..2.1).contains(&start.elapsed().as_secs_f64()),
            "{path}: {:?}",
            start.elapsed()
        );
        // Only the first listing waits for it.
        let start = Instant::now();
        get(
            &shop.facing,
            &path.replace("/getAllUserBuys/", "/v1/purchases?userid="),
        )
        .await;
        assert_eq!(start.elapsed(), Duration::ZERO, "{path}");
    }
    let start = Instant::now();
    assert_eq!(
        get(&shop.facing, "/getAllUserBuys/u2")
            .await
            .header("x-purchase-pending"),
        None
    );
    assert_eq!(
        start.elapsed(),
        Duration::ZERO,
        "listings of other users do not wait"
    );
    post(
        &shop.facing,
        "/buy",
        r#"{"username":"u2","userid":"u2","price":29.99}"#,
    )
    .await;
    shop.ingest();
    for path in ["/getAllUserBuys/u2", "/getAllUserBuys/ada"] {
        let response = get(&shop.facing, path).await;
        assert_eq!(
            (
                response.header("x-purchase-pending"),
                &response.json()["count"]
            ),
            (None, &1.into()),
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn read_your_writes_is_off_by_default() {
    let shop = Shop::new();
    post(
        &shop.facing,
        "/buy",
        r#"{"username":"ada","userid":"u1","price":29.99}"#,
    )
    .await;
    let start = Instant::now();
    assert_eq!(
        get(&shop.facing, "/getAllUserBuys/u1")
            .await
            .header("x-purchase-pending"),
        None
    );
    assert_eq!(start.elapsed(), Duration::ZERO);
}

//! The state of a service, whatever it is.

use std::sync::Arc;

use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_client::shop_core::ingest::{Ingest, IngestOptions};
use shop_client::{Durability, ErrorKind, Health, HttpErrorExt, Purchase, ShopClient};
use shop_http::{HttpOptions, Parts, router};

use crate::shop::{Script, Turn, refusal};

async fn said(status: u16, body: &'static str) -> shop_client::Result<Health> {
    let script = Script::new([Turn::Say(refusal(status, &[], body))]);
    let client = script.client().await;
    let health = client.health().await;
    assert_eq!(script.seen().len(), 1, "it is not retried");
    health
}

#[tokio::test]
async fn both_services_report_their_parts() {
    let facing: ShopClient = Script::default().client().await;
    let health = facing.health().await.unwrap();
    assert_eq!((&*health.status, health.ingest), ("healthy", None));
    assert!(
        health
            .parts
            .into_iter()
            .eq([("listings".to_owned(), true), ("log".to_owned(), true)])
    );

    let log = InMemoryLog::default();
    let store = Arc::new(InMemoryStore::new());
    let source = Arc::new(log.source("group"));
    let letters = Arc::new(log.dead_letters());
    let ingest = Ingest::<Purchase>::new(
        source,
        Arc::clone(&store) as _,
        letters,
        IngestOptions::default(),
    );
    let mut parts = Parts::management(Arc::clone(&store) as _, Durability::Memory, store);
    parts.purchases.as_mut().unwrap().ingest = Some(ingest.monitor());
    let management = Script::default()
        .client_of(router(parts, HttpOptions::default()))
        .await;
    let health = management.health().await.unwrap();
    let parts = [
        ("ingest", false),
        ("listings", true),
        ("log", true),
        ("store", true),
    ];
    assert!(
        health
            .parts
            .iter()
            .map(|(part, works)| (&**part, *works))
            .eq(parts),
        "{:?}",
        health.parts
    );
    assert_eq!(health.status, "degraded");
    let ingest = health.ingest.unwrap();
    assert_eq!(
        (&*ingest.phase, ingest.inserted, ingest.stuck),
        ("idle", 0, None)
    );
}

#[tokio::test]
async fn every_member_is_typed() {
    let health = said(
        200,
        r#"{"status":"degraded","kafkaReady":true,"mongoReady":true,"mongodb":"connected","new":[],"parts":{"log":true},
        "ingest":{"phase":"running","inserted":3,"duplicates":1,"dead_lettered":2,"dead_letters_waiting":5,
            "lost_records":4,"gaps":{"records":4,"pending":[{"topic":"t"}]},"in_flight":7,"lag":9,
            "open_transaction_seconds":61,"freshness_ms":12,"waiting_for":{"store":"unavailable"},
            "stuck":{"position":"t-1-8","topic":"t","partition":1,"offset":8,"age_seconds":30,"error":"internal"},"new":1},
        "users":{"store":true,"outbox":null,"outbox_waits_for":"unavailable","events":{"phase":"stopped",
            "stopped_because":"denied"}},
        "orders":{"store":false,"outbox":2}}"#,
    );
    let health = health.await.unwrap();
    let ingest = health.ingest.unwrap();
    let users = health.users.unwrap();
    let orders = health.orders.unwrap();
    assert_eq!(
        (
            ingest.lag,
            ingest.freshness_ms,
            ingest.open_transaction_seconds
        ),
        (Some(9), Some(12), Some(61))
    );
    assert_eq!(
        (
            ingest.dead_letters_waiting,
            ingest.lost_records,
            ingest.in_flight
        ),
        (Some(5), 4, 7)
    );
    assert_eq!(
        (ingest.gaps.unwrap().records, &*ingest.waiting_for["store"]),
        (4, "unavailable")
    );
    let stuck = ingest.stuck.unwrap();
    assert_eq!(
        (
            &*stuck.topic,
            stuck.partition,
            stuck.offset,
            stuck.age_seconds
        ),
        ("t", 1, 8, 30)
    );
    assert_eq!(
        (users.outbox, users.outbox_waits_for.as_deref()),
        (None, Some("unavailable"))
    );
    assert_eq!(
        users.events.unwrap().stopped_because.as_deref(),
        Some("denied")
    );
    assert_eq!((orders.store, orders.outbox), (false, Some(2)));
}

#[tokio::test]
async fn a_bad_state_is_a_result_and_no_state_is_an_error() {
    let unhealthy = said(500, r#"{"status":"unhealthy","mongoReady":false}"#)
        .await
        .unwrap();
    assert_eq!(
        (&*unhealthy.status, unhealthy.parts.len()),
        ("unhealthy", 0)
    );
    assert_eq!(said(200, r#"{"status":"ok"}"#).await.unwrap().ingest, None);
    for (status, body, kind) in [
        (200, "{}", ErrorKind::Unsupported),
        (200, "<html>", ErrorKind::Unsupported),
        (
            500,
            r#"{"type":"about:blank","status":500}"#,
            ErrorKind::Internal,
        ),
        (500, "", ErrorKind::Internal),
        (404, "", ErrorKind::Unsupported),
        (503, "", ErrorKind::Unavailable),
    ] {
        let error = said(status, body).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status()),
            (kind, Some(status)),
            "{error}"
        );
    }
}

//! Dead letters of management: lists, filters, pages, replays and discards.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use futures_util::TryStreamExt;
use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_client::shop_core::log::{
    DeadLetter, Gap, GapCause, Headers, Log, LogRecord, Partition, Reason,
};
use shop_client::shop_core::record::Record as _;
use shop_client::{
    BytesBody, DeadLetterRequest, Durability, ErrorKind, HttpErrorExt, Outcome, PageLimit,
    Purchase, ReasonKind, ResolvedStatus, ShopClient, Timestamp,
};
use shop_http::{DeadLetterLog, HttpOptions, Parts, router};

use crate::shop::{Script, Turn, refusal};

const MARCH: i64 = 1_772_355_600_000;

fn partition() -> Partition {
    Partition::new("c".into(), "purchases".into(), 0, 0)
}

fn parked(offset: u64) -> DeadLetter {
    let time = Timestamp::from_millis(MARCH + i64::try_from(offset).unwrap()).unwrap();
    let headers = Headers::builder().with("raw", Some(b"\xff")).build();
    let value = br#"{"username":"ada","userid":"u1","price":1}"#;
    let record = LogRecord::new(offset, time, Some(value.to_vec().into())).with_headers(headers);
    DeadLetter::new(record, partition(), Reason::parked("a note"), 2)
}

/// Management whose log has three parked records, and a gap at position 12.
async fn management() -> (InMemoryLog, Router) {
    let log = InMemoryLog::default();
    let store = Arc::new(InMemoryStore::new());
    let gap = Gap::new(partition(), 10, 13, GapCause::Deleted).to_dead_letter(Timestamp::MIN);
    Log::dead_letters(&log)
        .put(&[parked(1), parked(2), parked(3), gap])
        .await
        .unwrap();
    let mut parts = Parts::management(Arc::clone(&store) as _, Durability::Memory, store);
    parts.dead_letters = vec![DeadLetterLog::new(
        "purchases",
        Purchase::TYPE,
        Arc::new(log.clone()),
    )];
    (log, router(parts, HttpOptions::default()))
}

async fn client() -> (InMemoryLog, ShopClient, Script) {
    let ((log, router), script) = (management().await, Script::default());
    let client = script.client_of(router).await;
    (log, client, script)
}

/// The records in the log.
async fn published(log: &InMemoryLog) -> usize {
    let batches: Vec<_> = Log::admin(log)
        .scan()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    batches.iter().map(|batch| batch.records.len()).sum()
}

async fn positions(dead_letters: &DeadLetterRequest) -> Vec<String> {
    dead_letters
        .list()
        .map_ok(|one| one.position)
        .try_collect()
        .await
        .unwrap()
}

#[tokio::test]
async fn they_are_listed_by_filter_and_page() {
    let (_log, client, _script) = client().await;
    let all = [
        "purchases-0-1",
        "purchases-0-2",
        "purchases-0-3",
        "purchases-0-12",
    ];
    let dead_letters = client.dead_letters();
    assert_eq!(positions(&dead_letters).await, all);
    assert_eq!(
        positions(&dead_letters.clone().topic("purchases")).await,
        all
    );
    assert_eq!(
        positions(&dead_letters.clone().reason(ReasonKind::Gap)).await,
        all[3..]
    );
    // The last value of a filter counts.
    let parked = dead_letters
        .clone()
        .reason(ReasonKind::Gap)
        .reason(ReasonKind::Parked);
    let since = Timestamp::from_millis(MARCH + 2).unwrap();
    assert_eq!(positions(&parked.since(since)).await, all[1..3]);

    let mut cursor = None;
    let mut sizes = Vec::new();
    loop {
        let page = dead_letters
            .page(PageLimit::new(3).unwrap(), cursor.as_deref())
            .await
            .unwrap();
        sizes.push(page.items.len());
        assert_eq!(page.stuck, []);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [3, 1]);
    let error = dead_letters
        .topic("other")
        .page(PageLimit::MAX, None)
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (ErrorKind::Invalid, Some(422))
    );
}

#[tokio::test]
async fn one_is_shown_with_its_record() {
    let (_log, client, _script) = client().await;
    let dead_letters = client.dead_letters();
    let one = dead_letters.get("purchases-0-2").await.unwrap().unwrap();
    assert_eq!(
        (&*one.reason, one.attempts, &*one.cluster),
        ("parked", 2, "c")
    );
    let record = one.record.unwrap();
    assert_eq!(record.headers[0].name, BytesBody::Text("raw".into()));
    assert_eq!(
        record.headers[0].value,
        Some(BytesBody::Base64 {
            base64: "/w==".into()
        })
    );
    assert!(matches!(record.value, Some(BytesBody::Text(text)) if text.contains("ada")));
    assert_eq!(
        dead_letters
            .get("purchases-0-12")
            .await
            .unwrap()
            .unwrap()
            .lost,
        Some(3)
    );
    assert_eq!(dead_letters.get("purchases-0-9").await.unwrap(), None);
    assert_eq!(
        dead_letters.get("purchases").await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn they_are_replayed_and_discarded() {
    use ResolvedStatus::{Discarded, Refused, Replayed, Unknown};

    let (log, client, _script) = client().await;
    let dead_letters = client.dead_letters();
    let some = ["purchases-0-1", "purchases-0-12", "purchases-0-9"];
    for (is_dry, second) in [(true, Replayed), (false, Unknown)] {
        let these = if is_dry {
            dead_letters.clone().dry_run()
        } else {
            dead_letters.clone()
        };
        for expected in [Replayed, second] {
            let results = these.replay(some).await.unwrap();
            let statuses: Vec<_> = results.iter().map(|one| one.status).collect();
            assert_eq!(statuses, [expected, Refused, Unknown]);
            assert!(
                results[0].detail.is_none() == (expected == Replayed)
                    && results[1].detail.is_some()
            );
        }
        assert_eq!(published(&log).await, usize::from(!is_dry));
    }
    // Positions of a list.
    let listed: Vec<_> = dead_letters.list().try_collect().await.unwrap();
    let results = dead_letters
        .discard(listed.iter().map(|one| &one.position))
        .await
        .unwrap();
    assert!(results.iter().all(|one| one.status == Discarded) && results.len() == 3);
    assert_eq!(positions(&dead_letters).await, Vec::<String>::new());
    // None, and what is no position.
    let error = dead_letters.discard([""; 0]).await.unwrap_err();
    assert_eq!(error.status(), Some(422));
    assert_eq!(dead_letters.replay(["x"]).await.unwrap_err().status(), None);
}

#[tokio::test(start_paused = true)]
async fn only_a_dry_run_is_repeated() {
    let (_log, client, script) = client().await;
    let unavailable = || Turn::Say(StatusCode::SERVICE_UNAVAILABLE.into_response());
    script.then(2, unavailable);
    let dead_letters = client.dead_letters();
    let error = dead_letters.replay(["purchases-0-1"]).await.unwrap_err();
    assert_eq!(
        (error.outcome(), script.seen().len()),
        (Outcome::Unknown, 1)
    );
    dead_letters
        .dry_run()
        .replay(["purchases-0-1"])
        .await
        .unwrap();
    assert_eq!(script.seen().len(), 3);
}

#[tokio::test]
async fn responses_about_something_else_are_errors() {
    let page = || Turn::Say(refusal(200, &[], r#"{"items":[],"next":"a"}"#));
    let (_log, client, script) = client().await;
    script.then(3, page);
    // A list that would never end.
    let error = client
        .dead_letters()
        .list()
        .try_collect::<Vec<_>>()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), script.seen().len()),
        (ErrorKind::Unsupported, 2)
    );
    drop(
        client
            .dead_letters()
            .page(PageLimit::MAX, None)
            .await
            .unwrap(),
    );
    for body in [
        r#"{"dry_run":true,"results":[{"position":"t-0-1","status":"replayed"}]}"#,
        r#"{"dry_run":false,"results":[{"position":"t-0-2","status":"replayed"}]}"#,
        r#"{"dry_run":false,"results":[]}"#,
    ] {
        script.then(1, || Turn::Say(refusal(200, &[], body)));
        let error = client.dead_letters().replay(["t-0-1"]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unsupported, Outcome::Unknown)
        );
    }
    let newer =
        r#"{"dry_run":false,"results":[{"position":"t-0-1","status":"postponed","more":1}]}"#;
    script.then(1, || Turn::Say(refusal(200, &[], newer)));
    let results = client.dead_letters().replay(["t-0-1"]).await.unwrap();
    assert_eq!(results[0].status, ResolvedStatus::Other);
    // Facing has none.
    let facing = Script::default().client().await;
    let error = facing
        .dead_letters()
        .page(PageLimit::MAX, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

//! `/v1/dead-letters` on management, with a running ingest.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde_json::{Value, json};
use shop_accounts::users::User;
use shop_core::ingest::{Ingest, IngestMonitor, IngestOptions};
use shop_core::log::{DeadLetter, Gap, GapCause, Headers, Log, LogRecord, Partition, Reason};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::record::Record as _;
use shop_core::{Purchase, Timestamp};
use shop_http::{DeadLetterLog, HttpOptions, router};

use crate::shop::{get, management_parts_of, post};

const ADA: &[u8] = br#"{"username":"ada","userid":"u1","price":1}"#;

/// A dead letter of a record of `topic` that was never in the log.
pub(crate) fn dead_letter(topic: &str, offset: u64, value: &[u8]) -> DeadLetter {
    let time = Timestamp::from_millis(1_772_355_600_000 + i64::try_from(offset).unwrap()).unwrap();
    let headers = Headers::builder()
        .with("their\u{7}", Some(b"\xff"))
        .with("none", None)
        .build();
    let record = LogRecord::new(offset, time, Some(value.to_vec().into()))
        .with_key(Some("u1".into()))
        .with_headers(headers);
    DeadLetter::new(
        record,
        Partition::new("c".into(), topic.into(), 0, 0),
        Reason::parked("a note"),
        2,
    )
}

/// A dead letter about a conflict with the purchase that [`Operated::buys`].
fn conflict() -> DeadLetter {
    let mut other = dead_letter(
        "purchases",
        70,
        br#"{"username":"ada","userid":"u1","price":2}"#,
    );
    other.record = other.record.with_headers(identified());
    other.reason = Reason::conflict(Purchase::TYPE);
    other
}

fn identified() -> Headers {
    Headers::builder()
        .with("purchase-id", Some(b"0190163d-8694-739b-aea5-966c26f8ad91"))
        .build()
}

/// A gap of three records, at the position of the last one.
fn gap(offset: u64) -> DeadLetter {
    let partition = Partition::new("c".into(), "purchases".into(), 0, 0);
    Gap::new(partition, offset, offset + 3, GapCause::Deleted).to_dead_letter(Timestamp::MIN)
}

/// Management over a log, whose ingest runs.
struct Operated {
    log: InMemoryLog,
    management: Router,
    ingest: IngestMonitor,
}

impl Operated {
    async fn in_memory(dead_letters: &[DeadLetter]) -> Self {
        let log = InMemoryLog::default();
        Log::dead_letters(&log).put(dead_letters).await.unwrap();
        let store = InMemoryStore::new();
        let source = Arc::new(log.source("group"));
        let letters = Log::dead_letters(&log);
        let ingest = Ingest::<Purchase>::new(
            source,
            Arc::new(store.clone()),
            letters,
            IngestOptions::default(),
        );
        let monitor = ingest.monitor();
        tokio::spawn(ingest.run(std::future::pending()));
        let mut parts = management_parts_of(store);
        let users = Arc::new(InMemoryLog::default());
        parts.dead_letters = vec![
            DeadLetterLog::new("purchases", Purchase::TYPE, Arc::new(log.clone())),
            DeadLetterLog::new("user_created", User::TYPE, Arc::clone(&users) as _),
        ];
        Log::dead_letters(&*users)
            .put(&[dead_letter("user_created", 5, b"no user")])
            .await
            .unwrap();
        Self {
            log,
            management: router(parts, HttpOptions::default()),
            ingest: monitor,
        }
    }

    async fn get(&self, path: &str) -> Value {
        let response = get(&self.management, path).await;
        assert_eq!(response.status, StatusCode::OK, "{path}: {}", response.text);
        response.json()
    }

    /// The positions in a list.
    async fn positions(&self, query: &str) -> Vec<String> {
        let page = self.get(&format!("/v1/dead-letters{query}")).await;
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["position"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn resolve(&self, how: &str, positions: &[&str], dry_run: bool) -> Vec<String> {
        let body = json!({"positions": positions, "dry_run": dry_run}).to_string();
        let response = post(&self.management, &format!("/v1/dead-letters:{how}"), body).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.text);
        let body = response.json();
        assert_eq!(body["dry_run"], dry_run);
        let results = body["results"].as_array().unwrap().iter();
        results
            .map(|result| format!("{} {}", result["position"], result["status"]).replace('"', ""))
            .collect()
    }

    /// The records in the log.
    async fn published(&self) -> usize {
        use futures_util::TryStreamExt as _;
        let batches: Vec<_> = Log::admin(&self.log)
            .scan()
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        batches.iter().map(|batch| batch.records.len()).sum()
    }

    /// Stores the purchase `ADA` under the id of [`conflict`].
    async fn buys(&self) {
        let record = LogRecord::new(0, Timestamp::MIN, Some(ADA.into())).with_headers(identified());
        Log::writer(&self.log).append(record).await.unwrap();
        self.ingest
            .wait_for(|status| status.counters.inserted > 0)
            .await;
    }

    async fn stored(&self) -> Value {
        self.get("/v1/summary?everyone=true").await["count"].clone()
    }
}

#[tokio::test]
async fn dead_letters_are_listed_in_pages_and_shown_in_full() {
    let all: Vec<_> = (0..7)
        .map(|offset| dead_letter("purchases", offset, ADA))
        .chain([gap(20)])
        .collect();
    let shop = Operated::in_memory(&all).await;
    let mut seen = Vec::new();
    let mut query = "?limit=3".to_owned();
    loop {
        let page = shop.get(&format!("/v1/dead-letters{query}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3 && page["stuck"] == json!([]), "{page}");
        seen.extend(
            items
                .iter()
                .map(|item| item["position"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=3&cursor={next}");
    }
    assert_eq!(seen, shop.positions("?limit=1000").await);
    assert_eq!(seen.len(), 9, "of both topics: {seen:?}");
    assert_eq!(
        shop.positions("?topic=user_created").await,
        ["user_created-0-5"]
    );
    assert_eq!(shop.positions("?reason=gap").await, ["purchases-0-22"]);
    let since = "?topic=purchases&reason=parked&since=2026-03-01T09:00:00.005Z";
    assert_eq!(
        shop.positions(since).await,
        ["purchases-0-5", "purchases-0-6"]
    );
    let listed = shop.get("/v1/dead-letters?reason=gap").await;
    assert_eq!(
        (
            &listed["items"][0]["lost"],
            listed["items"][0].get("record")
        ),
        (&json!(3), None)
    );
    let shown = shop.get("/v1/dead-letters/user_created-0-5").await;
    assert_eq!(
        (&shown["reason"], &shown["detail"]),
        (&json!("parked"), &json!("parked: a note"))
    );
    let name = json!({"base64": "dGhlaXIH"});
    let headers =
        json!([{"name": name, "value": {"base64": "/w=="}}, {"name": "none", "value": null}]);
    assert_eq!(
        shown["record"],
        json!({"key": "u1", "headers": headers, "value": "no user"})
    );
    let listed = shop.get("/v1/dead-letters?limit=1000").await["items"].clone();
    let previews: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["preview"].clone())
        .collect();
    assert_eq!(
        (&previews[0], &previews[7], &previews[8]),
        (
            &json!(str::from_utf8(ADA).unwrap()),
            &Value::Null,
            &json!("no user")
        )
    );
    assert_eq!(
        (&listed[0]["purchase"]["price"], listed[8].get("purchase")),
        (&json!(1), None)
    );
    assert_eq!(shown.get("preview"), None);
    let gone = get(&shop.management, "/v1/dead-letters/purchases-0-99").await;
    gone.has(404, &json!({"type": "/problems/unknown-dead-letter"}));
}

#[tokio::test]
async fn a_dead_letter_has_its_purchase_and_the_one_in_conflict() {
    let long = format!("\u{1b}{}", "x".repeat(300));
    let all = [
        dead_letter("purchases", 1, ADA),
        dead_letter("purchases", 2, long.as_bytes()),
        conflict(),
        gap(80),
    ];
    let shop = Operated::in_memory(&all).await;
    let listed = shop.get("/v1/dead-letters?topic=purchases").await["items"].clone();
    let members = |name: &str| {
        listed
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item[name].clone())
            .collect::<Vec<_>>()
    };
    let prices: Vec<_> = members("purchase")
        .iter()
        .map(|purchase| purchase["price"].clone())
        .collect();
    assert_eq!(prices, [json!(1), Value::Null, json!(2), Value::Null]);
    assert_eq!(members("stored"), [const { Value::Null }; 4]);
    let previews = members("preview");
    assert_eq!(
        (&previews[0], &previews[3]),
        (&json!(str::from_utf8(ADA).unwrap()), &Value::Null)
    );
    assert_eq!(previews[1], json!(format!("\u{fffd}{}", "x".repeat(199))));

    let conflict = "/v1/dead-letters/purchases-0-70";
    assert_eq!(
        shop.get(conflict).await.get("stored"),
        None,
        "nothing is stored under its id"
    );
    shop.buys().await;
    let shown = shop.get(conflict).await;
    assert_eq!(
        (&shown["purchase"]["price"], &shown["stored"]["price"]),
        (&json!(2), &json!(1)),
        "{shown}"
    );
    assert_eq!(shown["purchase"]["id"], shown["stored"]["id"]);
    assert_eq!(shown.get("preview"), None);
    assert_eq!(
        shop.get("/v1/dead-letters/purchases-0-1")
            .await
            .get("stored"),
        None
    );
}

#[tokio::test]
async fn all_errors_of_a_request_are_reported() {
    let shop = Operated::in_memory(&[]).await;
    let wrong = "/v1/dead-letters?topic=other&reason=bad&since=now&limit=0&cursor=x&color=red";
    let problem = get(&shop.management, wrong).await;
    assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        problem.json()["errors"].as_array().unwrap().len(),
        6,
        "{}",
        problem.text
    );
    assert_eq!(
        get(&shop.management, "/v1/dead-letters/x").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let too_long = json!({"positions": ["a-0-1"], "reason": "x".repeat(201)}).to_string();
    for (body, pointers) in [
        ("{}", &["#/positions"][..]),
        (r#"{"positions":[]}"#, &["#/positions"]),
        (
            r#"{"positions":[1],"dry_run":0,"all":true}"#,
            &["#/positions", "#/dry_run", "#/all"],
        ),
        (r#"{"positions":["a-0-1"],"reason":" "}"#, &["#/reason"]),
        (r#"{"positions":["a-0-1"],"reason":"a\nb"}"#, &["#/reason"]),
        (&too_long, &["#/reason"]),
    ] {
        for how in ["replay", "discard"] {
            let problem = post(
                &shop.management,
                &format!("/v1/dead-letters:{how}"),
                body.to_owned(),
            )
            .await;
            assert_eq!(
                problem.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{body}: {}",
                problem.text
            );
            let errors = problem.json()["errors"].clone();
            let named: Vec<_> = errors
                .as_array()
                .unwrap()
                .iter()
                .map(|error| error["pointer"].as_str().unwrap())
                .collect();
            assert_eq!(named, pointers);
        }
    }
    for body in [
        "",
        "[]",
        "{",
        r#"{"positions":["a-0-1"],"dry_run":true,"dry_run":false}"#,
    ] {
        let problem = post(&shop.management, "/v1/dead-letters:discard", body).await;
        assert_eq!(
            problem.status,
            StatusCode::BAD_REQUEST,
            "{body}: {}",
            problem.text
        );
    }
}

#[tokio::test]
async fn what_is_not_stuck_is_not_parked() {
    let shop = Operated::in_memory(&[]).await;
    shop.buys().await;
    let body = json!({"positions": ["purchases-0-0", "nonsense"], "reason": "a test"}).to_string();
    let response = post(&shop.management, "/v1/dead-letters:park", body).await;
    let detail = "no ingest of this process is stuck at it";
    let refused = |position| json!({"position": position, "status": "refused", "detail": detail});
    assert_eq!(
        response.json()["results"],
        json!([refused("purchases-0-0"), refused("nonsense")])
    );
    let problem = post(
        &shop.management,
        "/v1/dead-letters:park",
        r#"{"positions":["purchases-0-0"]}"#,
    )
    .await;
    assert_eq!(
        problem.json()["errors"][0]["pointer"],
        "#/reason",
        "{}",
        problem.text
    );
    assert_eq!(shop.positions("?topic=purchases").await, [""; 0]);
}

#[tokio::test]
async fn positions_are_resolved_one_by_one() {
    let all = [
        dead_letter("purchases", 1, ADA),
        dead_letter("purchases", 2, ADA),
        gap(20),
    ];
    let shop = Operated::in_memory(&all).await;
    let requested = [
        "purchases-0-22",
        "purchases-0-99",
        "user_created-0-5",
        "nonsense",
        "purchases-0-1",
    ];
    let expected = |done: &str, gap: &str| {
        [
            format!("purchases-0-22 {gap}"),
            "purchases-0-99 unknown".into(),
            format!("user_created-0-5 {done}"),
            "nonsense unknown".into(),
            format!("purchases-0-1 {done}"),
        ]
    };
    assert_eq!(
        shop.resolve("replay", &requested, true).await,
        expected("replayed", "refused")
    );
    assert_eq!(
        shop.resolve("discard", &requested, true).await,
        expected("discarded", "discarded")
    );
    assert_eq!(
        (shop.positions("").await.len(), shop.published().await),
        (4, 0),
        "a dry run changes nothing"
    );
    assert_eq!(
        shop.resolve("discard", &requested, false).await,
        expected("discarded", "discarded")
    );
    assert_eq!(shop.positions("").await, ["purchases-0-2"]);
    assert_eq!(shop.published().await, 0);
}

#[tokio::test]
async fn the_dry_run_of_a_replay_is_a_forecast() {
    let all = [
        dead_letter("purchases", 1, ADA),
        dead_letter("purchases", 2, b"no json"),
        conflict(),
        gap(80),
    ];
    let shop = Operated::in_memory(&all).await;
    let positions = [
        "purchases-0-1",
        "purchases-0-2",
        "purchases-0-70",
        "purchases-0-82",
    ];
    let expected = |again: &str, conflict: &str| {
        let statuses = ["replayed", again, conflict, "refused"];
        positions
            .iter()
            .zip(statuses)
            .map(|(at, status)| format!("{at} {status}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shop.resolve("replay", &positions, true).await,
        expected("dead_letter", "replayed")
    );
    shop.buys().await;
    assert_eq!(
        shop.resolve("replay", &positions, true).await,
        expected("dead_letter", "dead_letter")
    );
    let body = json!({"positions": positions, "dry_run": true}).to_string();
    let results = post(&shop.management, "/v1/dead-letters:replay", body)
        .await
        .json()["results"]
        .clone();
    assert_eq!(results[0].get("detail"), None);
    assert!(
        results[1]["detail"]
            .as_str()
            .unwrap()
            .starts_with("undecodable: the value is no JSON object"),
        "{results}"
    );
    assert_eq!(
        results[2]["detail"],
        "conflict: the id is taken by a purchase with other content"
    );
    // It is a forecast: they may be replayed nevertheless.
    assert_eq!(
        shop.resolve("replay", &positions, false).await,
        expected("replayed", "replayed")
    );
    let status = shop
        .ingest
        .wait_for(|status| status.counters.dead_lettered == 2)
        .await;
    assert_eq!(status.counters.inserted, 2);
}

#[tokio::test]
async fn a_dead_letter_is_replayed_once() {
    let shop = Operated::in_memory(&[dead_letter("purchases", 7_000, ADA)]).await;
    let at_once =
        join_all((0..2).map(|_| shop.resolve("replay", &["purchases-0-7000"], false))).await;
    let mut outcomes: Vec<_> = at_once.into_iter().flatten().collect();
    outcomes.sort();
    assert_eq!(
        outcomes,
        ["purchases-0-7000 replayed", "purchases-0-7000 unknown"]
    );
    let status = shop
        .ingest
        .wait_for(|status| status.counters.inserted > 0)
        .await;
    assert_eq!(status.counters.inserted, 1);
    assert_eq!((shop.published().await, shop.stored().await), (1, json!(1)));
    assert_eq!(shop.positions("?topic=purchases").await, [""; 0]);
}

#[tokio::test]
async fn only_management_with_a_log_has_the_routes() {
    let shop = crate::shop::Shop::new();
    for router in [&shop.facing, &shop.management] {
        assert_eq!(
            get(router, "/v1/dead-letters").await.status,
            StatusCode::NOT_FOUND
        );
    }
}

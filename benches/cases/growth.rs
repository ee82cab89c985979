//! Reads whose cost depends on their result: pages of dead letters, totals, and pages of the default listing.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use shop_core::log::{DeadLetter, DeadLetterFilter, Log, LogRecord, Partition, Reason, ReasonKind};
use shop_core::memory::InMemoryLog;
use shop_core::ports::{Period, PurchaseQuery, PurchaseStore, Selector, TimeRange, TotalsRequest};
use shop_core::{Purchase, Timestamp};
use shop_http::{HttpOptions, Parts, router};
use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};
use tower::ServiceExt;

use super::kafka_to_postgres::connect;
use super::two_threads;
use crate::row::{Goal, Row, Unit, thousands};
use crate::run::Pairs;
use crate::sample::purchase;
use crate::scale::{self, Scale};
use crate::usage::{as_f64, median, processor_time};

/// The size of a page.
const PAGE: usize = 50;
/// The user with very many purchases.
const USER: &str = "many";

/// The milliseconds of processor time of this process per call, for each repetition of ten calls.
async fn processor<F: Future<Output = ()>>(repetitions: usize, call: impl Fn() -> F) -> Vec<f64> {
    let mut times = Vec::new();
    for number in 0..=repetitions {
        let before = processor_time();
        for _ in 0..10 {
            call().await;
        }
        // The first is the warm-up.
        if number > 0 {
            times.push((processor_time() - before).as_secs_f64() * 100.0);
        }
    }
    times
}

/// Rows of pages and single lookups among `count` dead letters.
async fn dead_letters(on: &str, log: &dyn Log, count: u64, scale: Scale) -> [Row; 2] {
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);
    let letter = |offset| {
        let record = LogRecord::new(offset, Timestamp::MIN, Some("not a purchase".into()));
        DeadLetter::new(
            record,
            partition.clone(),
            Reason::from_parts(ReasonKind::Undecodable, "json".into()),
            1,
        )
    };
    let letters: Vec<DeadLetter> = (0..count).map(letter).collect();
    for few in letters.chunks(1_000) {
        log.put_dead_letters(few).await.unwrap();
    }
    let middle = letters[letters.len() / 2].position();
    let filter = DeadLetterFilter::default().after(Some(middle.clone()));
    let pages = processor(scale.pairs(), || async {
        assert_eq!(log.dead_letters(&filter, PAGE).await.unwrap().len(), PAGE);
    });
    let what = |name: &str| {
        format!(
            "{name} among {} dead letters, {on}: processor time",
            thousands(as_f64(count))
        )
    };
    let row = Row::new(what("a page of 50"), pages.await, Unit::Milliseconds, "");
    let page = row.with_goal(Goal::AtMost(10.0));
    let only = DeadLetterFilter::default().positions(BTreeSet::from([middle]));
    let one = processor(scale.pairs(), || async {
        assert_eq!(log.dead_letters(&only, PAGE).await.unwrap().len(), 1);
    });
    [
        page,
        Row::new(what("one"), one.await, Unit::Milliseconds, "").with_goal(Goal::AtMost(2.0)),
    ]
}

async fn fill(store: &dyn PurchaseStore, count: u64) {
    let mut all = (0..count)
        .map(|_| purchase(USER, USER, "1195.30"))
        .peekable();
    while all.peek().is_some() {
        let batch: Arc<[Purchase]> = all.by_ref().take(1_000).collect();
        store.insert(batch).await.unwrap();
    }
}

async fn totals(count: u64, scale: Scale) -> Vec<Row> {
    let mut rows = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default())
        .await
        .unwrap();
    fill(&store, count).await;
    let selector = Selector::User(USER.parse().unwrap());
    for (period, name) in [(Period::Day, "day"), (Period::Month, "month")] {
        let request = TotalsRequest::new(TimeRange::ALL, period);
        let times = processor(scale.pairs(), || async {
            assert!(!store.totals(&selector, &request).await.unwrap().is_empty());
        });
        let what = format!(
            "totals per {name} of a user with {}, embedded: processor time",
            thousands(as_f64(count))
        );
        rows.push(Row::new(what, times.await, Unit::Milliseconds, "").with_goal(Goal::AtMost(5.0)));
    }
    rows
}

/// The second pages of the default listing, with the sum in the cursor, compared with those of `/v1/purchases`.
async fn carried_sums(url: &str, count: u64, scale: Scale) -> Row {
    let schema = format!("growth_{}", uuid::Uuid::now_v7().simple());
    let client = connect(url).await;
    client
        .batch_execute(&format!("create schema {schema}"))
        .await
        .unwrap();
    let separator = if url.contains('?') { '&' } else { '?' };
    let of_schema = format!("{url}{separator}options=-c%20search_path%3D{schema}");
    let store = PostgresStore::open(PostgresStoreOptions::new(of_schema.as_str()))
        .await
        .unwrap();
    store.wait_for_schema().await;
    fill(&store, count).await;
    let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(store));
    let router = router(parts, HttpOptions::default());
    let get = |path: String| {
        let router = router.clone();
        async move {
            let response = router
                .oneshot(Request::get(path).body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(response.status(), 200);
            let link = response
                .headers()
                .get("link")
                .map(|link| link.to_str().unwrap().to_owned());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (link, serde_json::from_slice::<Value>(&body).unwrap())
        }
    };
    let next = |path: &str, (link, body): (Option<String>, Value)| match &body["next"] {
        Value::String(cursor) => format!("{path}&cursor={cursor}"),
        _ => link
            .and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0.to_owned()))
            .unwrap(),
    };
    let mut paths = Vec::new();
    for path in [
        format!("/getAllUserBuys/{USER}?limit=50"),
        format!("/v1/purchases?userid={USER}&limit=50"),
    ] {
        let first = get(path.clone()).await;
        paths.push(next(&path, first));
    }
    let time = async |path: &str| {
        let start = Instant::now();
        for _ in 0..10 {
            get(path.to_owned()).await;
        }
        start.elapsed().as_secs_f64() * 100.0
    };
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    for _ in 0..scale.pairs() {
        ours.push(time(&paths[0]).await);
        baseline.push(time(&paths[1]).await);
    }
    let what = format!(
        "a later page of 50 of the default listing, a user with {}, PostgreSQL",
        thousands(as_f64(count))
    );
    let show = |times: &[f64]| format!("{:.2} ms", median(times.to_vec()));
    let row = Pairs { ours, baseline }.row(what, |time| *time, "/v1/purchases", show);
    client
        .batch_execute(&format!("drop schema {schema} cascade"))
        .await
        .unwrap();
    row.with_goal(Goal::AtMost(1.3))
}

/// Measures dead letters, totals, and pages of a listing with a sum.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let letters = scale.pick(200, 20_000, 200_000);
    let purchases = scale.pick(2_000, 40_000, 400_000);
    let runtime = two_threads();
    let embedded = async {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
            .await
            .unwrap();
        dead_letters("embedded", &log, letters, scale).await
    };
    runtime.block_on(embedded).into_iter().for_each(&mut *emit);
    if let Some(brokers) = scale::kafka() {
        let kafka = async {
            let mut options = KafkaLogOptions::new(&brokers);
            options.topic = format!("shop-bench-growth-{}", uuid::Uuid::now_v7());
            let log = KafkaLog::open(options).await.unwrap();
            log.exists().await.unwrap();
            dead_letters("Kafka", &log, letters, scale).await
        };
        runtime.block_on(kafka).into_iter().for_each(&mut *emit);
    }
    runtime
        .block_on(totals(purchases, scale))
        .into_iter()
        .for_each(&mut *emit);
    if let Some(url) = scale::postgres() {
        emit(runtime.block_on(carried_sums(&url, purchases, scale)));
    }
}

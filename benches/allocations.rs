//! Counts allocations per record or request. The figures are the same on every machine.
//!
//! ```text
//! cargo bench --features benches/programs --bench allocations
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has failed"
)]

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use benches::bench;
use benches::cases::hot_path::{memory_log, memory_to_counting};
use benches::cases::one_thread;
use benches::row::{Row, Unit};
use benches::sample::purchases;
use benches::scale::Scale;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use shop_core::log::LogExt as _;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::record::{decode, encode};
use shop_http::{HttpOptions, Parts, router};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The number of records or requests.
const COUNT: u16 = 10_000;

/// The allocations and reallocations of one of them, and their bytes.
fn counted(what: &str, work: impl FnOnce()) -> Row {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    let each = |count: usize| f64::from(u32::try_from(count).unwrap()) / f64::from(COUNT);
    let bytes = format!("{:.0} bytes", each(change.bytes_allocated));
    let allocations = each(change.allocations + change.reallocations);
    Row::new(
        format!("allocations, {what}"),
        vec![allocations],
        Unit::Each,
        bytes,
    )
}

fn rows(_scale: Scale, emit: &mut dyn FnMut(Row)) {
    let runtime = one_thread();
    let all = purchases(COUNT.into());
    let log = runtime.block_on(memory_log(&all, 1_000));
    let batches: Vec<_> = runtime.block_on(async { log.scan_all().await.unwrap().collect().await });
    let encoding = counted("encode, for a record", || {
        for purchase in &all {
            black_box(encode(purchase).unwrap());
        }
    });
    let decoding = counted("decode, for a record", || {
        for batch in &batches {
            let batch = batch.as_ref().unwrap();
            for record in &batch.records {
                black_box(decode(record, &batch.partition).unwrap());
            }
        }
    });
    let ingesting = counted(
        "memory → counting store, decoding included, for a record",
        || {
            runtime.block_on(memory_to_counting(&log, COUNT.into()));
        },
    );
    let parts = Parts::facing(
        Arc::new(InMemoryLog::default().sink()),
        Arc::new(InMemoryStore::new()),
    );
    let buying = |router: &Router| {
        runtime.block_on(async {
            for _ in 0..COUNT {
                let body = r#"{"username":"Ada Lovelace","userid":"user-00001","price":1195.30}"#;
                let request = Request::post("/buy")
                    .header("content-type", "application/json")
                    .body(Body::from(body));
                let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
                assert_eq!(answer.status(), 201);
                black_box(answer.into_body().collect().await.unwrap());
            }
        });
    };
    let router = router(parts, HttpOptions::default());
    let what = "POST /buy through facing's router into a log in memory, for a request";
    let bought = counted(what, || buying(&router));
    [encoding, decoding, ingesting, bought]
        .into_iter()
        .for_each(emit);
}

fn main() {
    bench::main("allocations", rows);
}

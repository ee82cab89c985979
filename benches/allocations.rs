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
use benches::cases::served_buy::ServedBuy;
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

/// The number of requests over TCP, each of which waits for the linger time of the producer.
const SERVED_COUNT: u16 = 1_000;
/// The number of requests over TCP before the count begins: the tables and the buffers grow in these.
const WARM_UP: u16 = 200;

/// The allocations and reallocations of one of `count`, and their bytes.
fn counted(what: &str, count: u16, work: impl FnOnce()) -> Row {
    let region = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    let each = |sum: usize| f64::from(u32::try_from(sum).unwrap()) / f64::from(count);
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
    let encoding = counted("encode, for a record", COUNT, || {
        for purchase in &all {
            black_box(encode(purchase).unwrap());
        }
    });
    let decoding = counted("decode, for a record", COUNT, || {
        for batch in &batches {
            let batch = batch.as_ref().unwrap();
            for record in &batch.records {
                black_box(decode(record, &batch.partition).unwrap());
            }
        }
    });
    let ingesting = counted(
        "memory → counting store, decoding included, for a record",
        COUNT,
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
    let bought = counted(what, COUNT, || buying(&router));
    [encoding, decoding, ingesting, bought]
        .into_iter()
        .for_each(&mut *emit);
    served_rows(emit);
}

/// The allocations of a buy from the socket to librdkafka, and the size of its response.
fn served_rows(emit: &mut dyn FnMut(Row)) {
    let mut served = ServedBuy::start();
    served.buy(WARM_UP.into());

    let mut response_bytes = 0;
    let what = "POST /buy over TCP on librdkafka's own test cluster, for a request";
    emit(counted(what, SERVED_COUNT, || {
        response_bytes = served.buy(SERVED_COUNT.into());
    }));
    emit(Row::new(
        "bytes of the response to this POST /buy",
        vec![f64::from(u32::try_from(response_bytes).unwrap())],
        Unit::Each,
        "head and body",
    ));
}

fn main() {
    bench::main("allocations", rows);
}

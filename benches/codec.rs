//! Encodes a purchase into a record and decodes it, compared with plain JSON of the same four members.
//! And writes the bodies of responses, compared with their `Serialize`.
//!
//! A body is written by hand only where `Serialize` would cost 3 % of a request more. In instructions,
//! of which a buy takes 91,000, a listing 277,000, and a purchase of a batch 46,000:
//!
//! | body | written | serialized |
//! |---|---|---|
//! | a listing of 50 purchases | 52,500 | 182,800 |
//! | the value of a record and the response of a buy | 2,960 | 8,920 |
//! | a line of a batch | 1,560 | 4,840 |
//!
//! ```text
//! cargo bench --bench codec
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has failed"
)]

use std::hint::black_box;

use benches::sample::purchases;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use shop_api::{BatchResultBody, BatchStatus, write_acknowledged};
use shop_core::json::WriteJson;
use shop_core::log::{Partition, RecordPosition};
use shop_core::ports::{Durability, Page, PublishedPurchase, Receipt};
use shop_core::record::{decode, encode};

/// The ceiling: no id, no headers, no validation, an inexact price.
#[derive(Serialize, Deserialize)]
struct Plain {
    username: String,
    userid: String,
    price: f64,
    timestamp: String,
}

fn codec(criterion: &mut Criterion) {
    let purchase = purchases(1).remove(0);
    let record = encode(&purchase).unwrap();
    let value = record.value.clone().unwrap();
    let plain: Plain = serde_json::from_slice(&value).unwrap();
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);

    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(black_box(&purchase)).unwrap());
    });
    group.bench_function("plain_to_json", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&plain)).unwrap());
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode(black_box(&record), &partition).unwrap());
    });
    group.bench_function("plain_from_json", |bencher| {
        bencher.iter(|| serde_json::from_slice::<Plain>(black_box(&value)).unwrap());
    });
    group.finish();
}

fn bodies(criterion: &mut Criterion) {
    let mut page = Page::default();
    page.items = purchases(50);
    let purchase = page.items[0].clone();
    let receipt = Receipt::new(purchase.id, Durability::LocalDisk)
        .with_position(RecordPosition::new("purchases", 0, 123_456));
    let published = PublishedPurchase::new(purchase, receipt);
    let mut body = Vec::with_capacity(16 << 10);

    let mut group = criterion.benchmark_group("bodies");
    group.bench_function("listing/written", |bencher| {
        bencher.iter(|| {
            body.clear();
            black_box(&page).write_json(&mut body);
        });
    });
    group.bench_function("listing/serialized", |bencher| {
        bencher.iter(|| {
            body.clear();
            serde_json::to_writer(&mut body, black_box(&page)).unwrap();
        });
    });
    group.bench_function("buy/written", |bencher| {
        bencher.iter(|| {
            body.clear();
            black_box(&published).write_json(&mut body);
        });
    });
    group.bench_function("buy/serialized", |bencher| {
        bencher.iter(|| {
            body.clear();
            serde_json::to_writer(&mut body, black_box(&published)).unwrap();
        });
    });
    group.bench_function("batch_line/written", |bencher| {
        bencher.iter(|| {
            body.clear();
            write_acknowledged(7, black_box(&published), &mut body);
        });
    });
    group.bench_function("batch_line/serialized", |bencher| {
        bencher.iter(|| {
            body.clear();
            let published = black_box(&published);
            let mut line = BatchResultBody::new(7, BatchStatus::Acknowledged);
            line.id = Some(published.receipt.id);
            line.timestamp = Some(published.purchase.timestamp);
            line.receipt = Some(published.receipt.clone());
            serde_json::to_writer(&mut body, &line).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, codec, bodies);
criterion_main!(benches);

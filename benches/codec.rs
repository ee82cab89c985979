//! Encodes a purchase into a record and decodes it, compared with plain JSON of the same four members.
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
use shop_core::log::Partition;
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

criterion_group!(benches, codec);
criterion_main!(benches);

//! The hot path: from the log into the store, through the public pipeline, each rung beside its ceiling.
//!
//! ```text
//! cargo bench --bench consume_to_insert
//! ```

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has failed")]

use std::time::Duration;

use benches::purchases;
use benches::rungs::hot_path::{
    bare_inserts, embedded_log, embedded_to_embedded, memory_log, memory_to_counting, one_thread, two_threads,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Records of one measurement.
const RECORDS: u64 = 50_000;

/// Our own overhead: a log in memory, and a store that only counts.
fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory_to_counting");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    let runtime = one_thread();
    let all = purchases(RECORDS);
    for size in [1, 100, 1_000] {
        let log = runtime.block_on(memory_log(&all, size));
        let mut run = 0;
        group.bench_function(BenchmarkId::new("batch", size), |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    run += 1;
                    spent += runtime.block_on(memory_to_counting(&log, &format!("group-{run}"), RECORDS));
                }
                spent
            });
        });
    }
    group.finish();
}

/// From the embedded log into the embedded store, beside its ceiling.
fn embedded(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("embedded_to_embedded");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    let all = purchases(RECORDS);
    let runtime = two_threads();
    let folder = tempfile::tempdir().unwrap();
    let log = runtime.block_on(embedded_log(folder.path(), &all));
    let mut run = 0;
    group.bench_function("pipeline", |bencher| {
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                run += 1;
                spent += runtime.block_on(embedded_to_embedded(&log, &format!("group-{run}"), RECORDS));
            }
            spent
        });
    });
    group.bench_function("bare_inserts", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| bare_inserts(&all)).sum());
    });
    group.finish();
}

criterion_group!(benches, memory, embedded);
criterion_main!(benches);

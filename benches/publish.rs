//! `publish` into the embedded log with many waiting callers, beside a bare group-commit loop.
//!
//! ```text
//! cargo bench --bench publish
//! ```

use std::time::Duration;

use benches::purchases;
use benches::rungs::hot_path::two_threads;
use benches::rungs::publish::{bare, through_the_sink};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: u64 = 20_000;

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish_embedded");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(10);
    let runtime = two_threads();
    let all = purchases(RECORDS);
    for callers in [1, 16, 128] {
        let few = if callers == 1 { &all[..2_000] } else { &all[..] };
        group.throughput(Throughput::Elements(few.len() as u64));
        group.bench_function(BenchmarkId::new("sink", callers), |bencher| {
            bencher.iter_custom(|times| {
                (0..times).map(|_| runtime.block_on(through_the_sink(few, callers))).sum::<Duration>()
            });
        });
        group.bench_function(BenchmarkId::new("bare_group_commit", callers), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| runtime.block_on(bare(few, callers))).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, publish);
criterion_main!(benches);

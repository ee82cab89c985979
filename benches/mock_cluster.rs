//! From librdkafka's own cluster for tests into a store that counts, beside a bare consumer loop.
//!
//! ```text
//! cargo bench --bench mock_cluster
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs (default 15). Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::run::main("mock_cluster", benches::cases::mock_cluster::rows);
}

//! From librdkafka's own cluster for tests into a store that counts, beside a bare consumer loop.
//!
//! ```text
//! cargo bench --bench mock_cluster
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs, 15 unless set. Nothing else should run on the machine meanwhile.

fn main() {
    benches::rungs::main("mock_cluster", benches::rungs::mock_cluster::rows);
}

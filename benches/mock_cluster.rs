//! From librdkafka's mock cluster into a counting store, compared with a bare consumer loop.
//!
//! ```text
//! cargo bench --features benches/programs --bench mock_cluster
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("mock_cluster", benches::cases::mock_cluster::rows);
}

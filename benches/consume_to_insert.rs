//! The hot path from the log into the store through the public pipeline, each case with its ceiling.
//!
//! ```text
//! cargo bench --bench consume_to_insert
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("consume_to_insert", benches::cases::hot_path::rows);
}

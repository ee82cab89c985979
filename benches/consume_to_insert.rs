//! The hot path: from the log into the store, through the public pipeline, each case beside its ceiling.
//!
//! ```text
//! cargo bench --bench consume_to_insert
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs (default 15). Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::run::main("consume_to_insert", benches::cases::hot_path::rows);
}

//! `publish` into the embedded log with many concurrent callers, compared with a bare group-commit loop.
//!
//! ```text
//! cargo bench --bench publish
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("publish", benches::cases::publish::rows);
}

//! The time from a 201 to the purchase appearing in a listing, compared with the sum of its parts measured separately.
//!
//! ```text
//! cargo bench --features benches/programs --bench freshness
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("freshness", benches::cases::freshness::rows);
}

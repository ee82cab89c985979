//! How long after its 201 a purchase is in a listing, beside the sum of its parts measured alone.
//!
//! ```text
//! cargo bench --bench freshness
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs (default 15). Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::run::main("freshness", benches::cases::freshness::rows);
}

//! `POST /v1/purchases:batch` with 1,000 purchases per request.
//!
//! ```text
//! cargo bench --features benches/programs --bench batch
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("batch", benches::cases::batch::rows);
}

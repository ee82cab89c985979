//! First pages, summaries and whole listings of very many purchases, compared with those of few.
//!
//! ```text
//! cargo bench --features benches/programs --bench listing
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("listing", benches::cases::listing::rows);
}

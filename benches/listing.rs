//! First pages, summaries and whole listings of very many purchases, beside those of few.
//!
//! ```text
//! cargo bench --bench listing
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs (default 15). Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::run::main("listing", benches::cases::listing::rows);
}

//! `POST /buy`, beside a bare axum handler that parses and echoes the same JSON.
//!
//! ```text
//! cargo bench --bench http_post
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs (default 15). Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::run::main("http_post", benches::cases::http_post::rows);
}

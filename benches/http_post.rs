//! `POST /buy`, beside a bare axum handler that parses and echoes the same JSON.
//!
//! ```text
//! cargo bench --bench http_post
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs, 15 unless set. Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::rungs::main("http_post", benches::rungs::http_post::rows);
}

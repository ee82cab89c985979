//! `POST /buy`, compared with a bare axum handler that parses and echoes the same JSON, and on Kafka with a naive handler.
//!
//! ```text
//! cargo bench --features benches/programs --bench http_post
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("http_post", benches::cases::http_post::rows);
}

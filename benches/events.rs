//! Readers of events: the memory of a server with 800, and the latency of concurrent buyers.
//!
//! ```text
//! cargo bench --features benches/programs --bench events
//! ```
//!
//! `SHOP_BENCH_PAIRS` sets the number of pairs of runs (default 15). Use an otherwise idle machine.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("events", benches::cases::events::rows);
}

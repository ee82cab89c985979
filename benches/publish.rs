//! `publish` into the embedded log with many waiting callers, beside a bare group-commit loop.
//!
//! ```text
//! cargo bench --bench publish
//! ```
//!
//! `SHOP_BENCH_PAIRS` says how many pairs of runs (default 15). Nothing else should run on the machine meanwhile.

/// That of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::run::main("publish", benches::cases::publish::rows);
}

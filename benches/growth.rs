//! Reads among very many rows that cost one page: dead letters, totals, pages with a sum.
//!
//! ```text
//! cargo bench --features benches/programs --bench growth
//! ```
//!
//! Kafka and PostgreSQL are measured if `SHOP_TEST_KAFKA` and `SHOP_TEST_POSTGRES_URL` are set.

/// The allocator of facing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    benches::bench::main("growth", benches::cases::growth::rows);
}

//! From Kafka into PostgreSQL, compared with a bare `insert … unnest` and with `COPY` of the same rows.
//!
//! ```text
//! SHOP_TEST_KAFKA=localhost:9092 SHOP_TEST_POSTGRES_URL=postgresql://postgres@localhost/postgres \
//!     cargo bench --features benches/programs --bench kafka_to_postgres
//! ```
//!
//! The database gets a schema that is dropped at the end. `SHOP_BENCH_PAIRS` sets the number of rounds (default 15); with
//! `-- --quick` 3 rounds of 100,000 records. Use an otherwise idle machine, and a server with `fsync`.

use benches::bench;
use benches::cases::kafka_to_postgres::rows;

fn main() {
    bench::main("kafka_to_postgres", rows);
}

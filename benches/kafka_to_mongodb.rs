//! From Kafka into MongoDB, compared with bare inserts of the same documents and with a naive loop.
//!
//! ```text
//! SHOP_TEST_KAFKA=localhost:9092 SHOP_TEST_MONGODB_URI=mongodb://localhost:27017 \
//!     cargo bench --features benches/programs --bench kafka_to_mongodb
//! ```
//!
//! `-- --soak 5000000` ingests that many records once, and reports whether memory stays flat.
//!
//! `SHOP_BENCH_PAIRS` sets the number of rounds (default 15); with `-- --quick` 3 rounds of 100,000 records. Use an
//! otherwise idle machine.

use benches::bench;
use benches::cases::kafka_to_mongodb::{rows, soak};

fn main() {
    bench::run_child_if_requested();
    let mut arguments = std::env::args().skip_while(|argument| argument != "--soak");
    if arguments.next().is_some() {
        return soak(
            arguments
                .next()
                .and_then(|records| records.parse().ok())
                .unwrap_or(5_000_000),
        );
    }
    bench::main("kafka_to_mongodb", rows);
}

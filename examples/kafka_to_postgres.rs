//! The log on Kafka, the store in PostgreSQL, and the pipeline between them in your own process.
//!
//! ```text
//! cargo run --example kafka_to_postgres
//!
//! Broker { replicas: None } after the buy, 1 purchase for 29.99 in PostgreSQL
//! ```
//!
//! Kafka is librdkafka's in-process cluster. PostgreSQL is this machine's; without its programs nothing runs.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use shop_core::NewPurchase;
use shop_core::ingest::IngestOptions;
use shop_core::shop::Pipeline;
use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};

#[path = "../shop-store/tests/support/postgres_server.rs"]
mod postgres_server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In your program these are addresses: `kafka-1:9092,kafka-2:9092` and `postgresql://…`.
    let kafka = MockCluster::new(1)?;
    kafka.create_topic("purchases", 3, 1)?;
    let postgres = match postgres_server::Cluster::start() {
        Ok(postgres) => postgres,
        Err(why) => {
            println!("skipped: {why}");
            return Ok(());
        }
    };

    // Any property of librdkafka, such as the rack for reads from the nearest replica.
    let options =
        KafkaLogOptions::new(kafka.bootstrap_servers()).with_property("client.rack", "eu-1a");
    let log = KafkaLog::open(options).await?;
    let store = PostgresStore::open(PostgresStoreOptions::new(postgres.url().as_str())).await?;

    // Stores what the log has, until it is closed; several processes share the work.
    let options = IngestOptions::default();
    let backend = log.backend("purchase-group").with_sink(log.sink());
    let pipeline = Pipeline::start(backend.with(store.backend()), options)?;

    let shop = pipeline.shop();
    let bought = shop
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("29.99")?,
        )
        .await?;
    let durability = bought.receipt.durability;
    let spent = shop
        .user(bought.purchase.user_id)
        .wait_for(&bought.receipt)
        .summary()
        .await?;
    println!(
        "{durability:?} after the buy, {} purchase for {} in PostgreSQL",
        spent.count, spent.total_spent
    );
    pipeline.close(Duration::from_secs(10)).await?;
    Ok(())
}

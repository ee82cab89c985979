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

use std::sync::Arc;

use rdkafka::mocking::MockCluster;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::{NewPurchase, Shop};
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
    let options = KafkaLogOptions::new(kafka.bootstrap_servers()).property("client.rack", "eu-1a");
    let log = KafkaLog::open(options).await?;
    let store = PostgresStore::open(PostgresStoreOptions::new(postgres.url().as_str())).await?;

    // Stores what the log has, until it is stopped; several processes share the work.
    let (source, dead_letters) = (Arc::new(log.source("purchase-group")?), Arc::new(log.dead_letters()));
    let ingest = Ingest::new(source, Arc::new(store.clone()), dead_letters, IngestOptions::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(ingest.run(async { drop(stopped.await) }));

    let shop = Shop::of(log.sink(), store.clone());
    let bought = shop.buy(NewPurchase::of("u1").named("ada").priced("29.99")?).await?;
    let durability = bought.receipt.durability;
    let spent = shop.user(bought.purchase.user_id).waiting_for(&bought.receipt).summary().await?;
    println!(
        "{durability:?} after the buy, {} purchase for {} in PostgreSQL",
        spent.count, spent.total_spent
    );
    drop(stop);
    running.await??;
    Ok(())
}

//! A row of your own PostgreSQL database and its event, written in your transaction and published by a relay.
//!
//! ```text
//! DATABASE_URL=postgresql://localhost/shop cargo run --example own_postgres
//!
//! 1 published: {"order":"order-7"}
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use shop_accounts::outbox::{Relay, RelayOptions};
use shop_accounts::postgres::PostgresOutbox;
use shop_core::log::LogExt as _;
use shop_core::memory::InMemoryLog;
use shop_core::record::JsonEvent;
use shop_store::postgres::PostgresStoreOptions;
use shop_store::postgres::tokio_postgres::{self, NoTls};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refund {
    order: String,
}

impl JsonEvent for Refund {
    const TOPIC: &'static str = "refunds";

    fn key(&self) -> String {
        self.order.clone()
    }
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "the address of your database")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Ok(url) = std::env::var("DATABASE_URL") else {
        println!("skipped: DATABASE_URL names no PostgreSQL database");
        return Ok(());
    };
    // Your connection, and those of the outbox, which creates its table.
    let (mut database, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let outbox = PostgresOutbox::open(PostgresStoreOptions::new(url)).await?;
    database
        .batch_execute("create table if not exists refunds (number text not null)")
        .await?;

    // The row and its event are stored together, or neither is.
    let transaction = database.transaction().await?;
    transaction
        .execute("insert into refunds (number) values ($1)", &[&"order-7"])
        .await?;
    PostgresOutbox::insert_event(
        &transaction,
        &Refund {
            order: "order-7".to_owned(),
        },
    )
    .await?;
    transaction.commit().await?;
    outbox.notify_relay();

    // The relay runs until your shutdown signal, and publishes to your log, such as a `KafkaLog`.
    let log = InMemoryLog::default();
    let relay = Relay::new(
        Arc::new(outbox),
        Arc::new(log.clone()),
        RelayOptions::default(),
    );
    let monitor = relay.monitor();
    relay.run(async {}).await;
    let batches: Vec<_> = log.scan_all().await?.try_collect().await?;
    for record in batches.into_iter().flat_map(|batch| batch.records) {
        let value = record.value.unwrap_or_default();
        println!(
            "{} published: {}",
            monitor.status().published,
            String::from_utf8_lossy(&value)
        );
    }
    Ok(())
}

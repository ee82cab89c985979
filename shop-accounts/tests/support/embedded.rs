//! The fixtures of users, orders and outboxes in SQLite files, for the conformance kit.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shop_accounts::conformance::{EntityStores, OutboxFixture};
use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers, SqliteOutbox};
use shop_accounts::outbox::Outbox;
use shop_core::conformance::Capabilities;
use shop_core::log::LogRecord;
use shop_core::record::{Event, JsonEvent};
use shop_store::embedded::EmbeddedStoreOptions;
use shop_store::embedded::rusqlite::Connection;
use tempfile::TempDir;

/// Users and orders in a folder that is deleted with the fixture.
#[derive(Debug)]
pub(crate) struct EmbeddedEntitiesFixture {
    users: EmbeddedUsers,
    orders: EmbeddedOrders,
    _folder: TempDir,
}

impl EmbeddedEntitiesFixture {
    /// No users and no orders.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let users = EmbeddedUsers::open(folder.path(), EmbeddedStoreOptions::default())
            .await
            .expect("users");
        let orders = EmbeddedOrders::open(folder.path(), EmbeddedStoreOptions::default())
            .await
            .expect("orders");
        Self {
            users,
            orders,
            _folder: folder,
        }
    }
}

impl EntityStores for EmbeddedEntitiesFixture {
    type Users = EmbeddedUsers;
    type Orders = EmbeddedOrders;

    fn user_store(&self) -> &EmbeddedUsers {
        &self.users
    }

    fn order_store(&self) -> &EmbeddedOrders {
        &self.orders
    }
}

/// A database of an embedder: its rows, and an outbox in the same file.
#[derive(Debug)]
pub(crate) struct OwnDatabase {
    connection: Mutex<Connection>,
    outbox: SqliteOutbox,
    _folder: TempDir,
}

/// An event of an embedder.
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

impl OwnDatabase {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("refunds.db");
        let connection = Connection::open(&path).expect("a database");
        let table = "CREATE TABLE refunds (id INTEGER PRIMARY KEY, number TEXT NOT NULL)";
        connection.execute_batch(table).expect("a table");
        let outbox = SqliteOutbox::open(path).await.expect("an outbox");
        Self {
            connection: Mutex::new(connection),
            outbox,
            _folder: folder,
        }
    }
}

#[async_trait]
impl OutboxFixture for OwnDatabase {
    /// SQLite has one writer at a time.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_open_writes()
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.outbox.clone())
    }

    async fn write(&self) -> LogRecord {
        let refund = {
            let mut connection = self.connection.lock().expect("no panic");
            let transaction = connection.transaction().expect("a transaction");
            transaction
                .execute("INSERT INTO refunds (number) VALUES ('order')", [])
                .expect("a row");
            let refund = Refund {
                order: format!("order-{}", transaction.last_insert_rowid()),
            };
            SqliteOutbox::insert_event(&transaction, &refund).expect("an event");
            transaction.commit().expect("a commit");
            refund
        };
        self.outbox.notify_relay();
        refund.encode().expect("a record")
    }
}

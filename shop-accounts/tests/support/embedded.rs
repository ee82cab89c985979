//! The fixtures of users, orders and outboxes in SQLite files, for the conformance kit.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use crate::prelude::*;
use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers, SqliteOutbox};
use shop_core::conformance::Capabilities;
use shop_store::embedded::EmbeddedStoreOptions;
use shop_store::embedded::rusqlite::Connection;
use std::sync::Mutex;
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
            let refund = event(transaction.last_insert_rowid(), "ada");
            SqliteOutbox::insert_event(&transaction, &refund).expect("an event");
            transaction.commit().expect("a commit");
            refund
        };
        self.outbox.notify_relay();
        refund.encode().expect("a record")
    }
}

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

/// The outbox in a database of an embedder.
#[derive(Debug)]
pub(crate) struct OwnDatabase {
    outbox: SqliteOutbox,
    folder: TempDir,
}

impl OwnDatabase {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("own.db");
        let outbox = SqliteOutbox::open(path).await.expect("an outbox");
        Self { outbox, folder }
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
        let event = new_event();
        {
            let path = self.folder.path().join("own.db");
            let mut connection = Connection::open(path).expect("a database");
            let transaction = connection.transaction().expect("a transaction");
            SqliteOutbox::insert_event(&transaction, &event).expect("an event");
            transaction.commit().expect("a commit");
        }
        self.outbox.notify_relay();
        event.encode().expect("a record")
    }
}

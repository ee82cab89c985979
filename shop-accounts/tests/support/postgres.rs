//! The fixtures of users, orders and outboxes on a PostgreSQL server, for the conformance kit.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot be set up has failed"
)]

use crate::prelude::*;
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use shop_accounts::users::NewUser;
use shop_core::Uuid;

/// Users and orders, side by side in one schema.
#[derive(Debug)]
pub(crate) struct PostgresEntitiesFixture {
    users: PostgresUsers,
    orders: PostgresOrders,
    url: String,
    _server: TestServer,
}

impl PostgresEntitiesFixture {
    /// Empty stores on the server of [`PostgresFixture::on_test_server`].
    pub(crate) async fn on_test_server() -> Option<Self> {
        Self::after("").await
    }

    /// Stores in a schema where `sql` was run before.
    pub(crate) async fn after(sql: &str) -> Option<Self> {
        let server = TestServer::find().await?;
        let url = fresh_schema(&server.url).await;
        session(&url)
            .await
            .batch_execute(sql)
            .await
            .expect("valid SQL");
        let options = || {
            PostgresStoreOptions::new(url.as_str())
                .max_connections(4)
                .adopt_tables(true)
        };
        let users = PostgresUsers::open(options()).await.expect("a URL");
        let orders = PostgresOrders::open(options()).await.expect("a URL");
        // Calls wait for the first attempt to create the tables.
        until(async || users.inspect().await.and(orders.inspect().await).is_ok()).await;
        Some(Self {
            users,
            orders,
            url,
            _server: server,
        })
    }

    /// The URL of their schema.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl EntityStores for PostgresEntitiesFixture {
    type Users = PostgresUsers;
    type Orders = PostgresOrders;

    fn user_store(&self) -> &PostgresUsers {
        &self.users
    }

    fn order_store(&self) -> &PostgresOrders {
        &self.orders
    }
}

/// The outbox in a database of an embedder.
#[derive(Debug)]
pub(crate) struct OwnTable {
    pub(crate) outbox: PostgresOutbox,
    url: String,
    _server: TestServer,
}

impl OwnTable {
    /// An empty schema on the server of [`PostgresFixture::on_test_server`].
    pub(crate) async fn on_test_server() -> Option<Self> {
        let server = TestServer::find().await?;
        let url = fresh_schema(&server.url).await;
        let outbox = PostgresOutbox::open(PostgresStoreOptions::new(url.as_str()))
            .await
            .expect("an outbox");
        Some(Self {
            outbox,
            url,
            _server: server,
        })
    }

    /// The URL of its schema.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// A user with the address `name@example.com`.
pub(crate) fn new_user(name: &str) -> NewUser {
    let email = format!("{name}@example.com").parse().expect("an email");
    NewUser::new(Uuid::now_v7().into(), email, name.parse().expect("a name"))
}

/// An event with the key `number`.
pub(crate) fn event(number: i64, name: &str) -> User {
    User::with_number(&new_user(name), UserNumber::new(number))
}

/// An event that is not equal to another one. All have the same key.
pub(crate) fn new_event() -> User {
    event(1, &Uuid::now_v7().to_string())
}

#[async_trait]
impl OutboxFixture for OwnTable {
    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.outbox.clone())
    }

    async fn write(&self) -> LogRecord {
        let event = new_event();
        self.write_event(&event, ready(()).boxed()).await;
        event.encode().expect("a record")
    }

    async fn write_event(&self, event: &User, before_commit: BoxFuture<'_, ()>) {
        let mut client = session(&self.url).await;
        let transaction = client.transaction().await.expect("a transaction");
        PostgresOutbox::insert_event(&transaction, event)
            .await
            .expect("an event");
        before_commit.await;
        transaction.commit().await.expect("a commit");
        self.outbox.notify_relay();
    }
}

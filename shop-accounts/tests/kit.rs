//! The stores of users and orders, and outboxes: the kit, and what PostgreSQL can do to them if there is a server.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use shop_accounts::conformance::{
    OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, UsersOfOrders, erase_users_suite, orders_suite,
    outbox_suite, users_suite,
};
use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers};
use shop_accounts::entity::EntityStore;
use shop_core::conformance::record_store_suite;

#[path = "../../shop-store/tests/support/container.rs"]
mod container;
#[path = "../../shop-store/tests/support/damage.rs"]
mod damage;
#[path = "support/embedded.rs"]
mod embedded;
#[path = "support/postgres.rs"]
mod fixture;
#[path = "postgres/outbox.rs"]
mod outbox;
#[path = "../../shop-store/tests/support/postgres.rs"]
mod postgres;
#[path = "postgres/rights.rs"]
mod rights;
#[path = "postgres/takeover.rs"]
mod takeover;

use embedded::{EmbeddedEntitiesFixture, OwnDatabase};
use fixture::{OwnTable, PostgresEntitiesFixture};

erase_users_suite!(embedded_erase_users, EmbeddedEntitiesFixture::new());
users_suite!(embedded_users, EmbeddedEntitiesFixture::new());
orders_suite!(embedded_orders, EmbeddedEntitiesFixture::new());
outbox_suite!(embedded_outbox_of_users, async {
    OutboxOfUsers::new(EmbeddedEntitiesFixture::new().await)
});
outbox_suite!(embedded_outbox_of_orders, async {
    OutboxOfOrders(EmbeddedEntitiesFixture::new().await)
});
outbox_suite!(sqlite_outbox, OwnDatabase::new());
record_store_suite!(embedded_orders_of_users, async {
    OrdersOfUsers(EmbeddedEntitiesFixture::new().await)
});
record_store_suite!(embedded_users_of_orders, async {
    UsersOfOrders(EmbeddedEntitiesFixture::new().await)
});
users_suite!(postgres_users, if PostgresEntitiesFixture::on_test_server());
orders_suite!(postgres_orders, if PostgresEntitiesFixture::on_test_server());
erase_users_suite!(postgres_erase_users, if PostgresEntitiesFixture::on_test_server());
outbox_suite!(postgres_outbox_of_users, if async {
    PostgresEntitiesFixture::on_test_server().await.map(OutboxOfUsers::new)
});
outbox_suite!(postgres_outbox_of_orders, if async {
    PostgresEntitiesFixture::on_test_server().await.map(OutboxOfOrders)
});
record_store_suite!(postgres_orders_of_users, if async {
    PostgresEntitiesFixture::on_test_server().await.map(OrdersOfUsers)
});
record_store_suite!(postgres_users_of_orders, if async {
    PostgresEntitiesFixture::on_test_server().await.map(UsersOfOrders)
});
outbox_suite!(postgres_outbox, if OwnTable::on_test_server());

#[tokio::test]
async fn check_detects_damage_in_every_table_and_index() {
    damage::assert_damage_is_detected("users", async |folder| {
        EntityStore::check(&EmbeddedUsers::open(folder, Default::default()).await?).await
    })
    .await;
    damage::assert_damage_is_detected("orders", async |folder| {
        EntityStore::check(&EmbeddedOrders::open(folder, Default::default()).await?).await
    })
    .await;
}

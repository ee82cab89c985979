//! The kit on the stores of users and orders, and on outboxes.

use shop_accounts::conformance::{
    OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, UsersOfOrders, erase_users_suite, orders_suite,
    outbox_suite, users_suite,
};
use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers};
use shop_accounts::entity::EntityStore;
use shop_core::conformance::record_store_suite;

#[path = "../../shop-store/tests/support/damage.rs"]
mod damage;
#[path = "support/embedded.rs"]
mod embedded;

use embedded::{EmbeddedEntitiesFixture, OwnDatabase};

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

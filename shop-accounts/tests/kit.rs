//! The stores of users and orders, and outboxes: the kit, and what PostgreSQL can do to them if there is a server.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use shop_accounts::conformance::{entity_stores_suite, outbox_suite};
use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers};
use shop_accounts::entity::EntityStore;

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
#[path = "support/prelude.rs"]
mod prelude;
#[path = "postgres/rights.rs"]
mod rights;
#[path = "postgres/takeover.rs"]
mod takeover;

use embedded::{EmbeddedEntitiesFixture, OwnDatabase};
use fixture::{OwnTable, PostgresEntitiesFixture};

entity_stores_suite!(embedded_entities, async {
    Some(EmbeddedEntitiesFixture::new().await)
});
outbox_suite!(sqlite_outbox, OwnDatabase::new());
entity_stores_suite!(postgres_entities, PostgresEntitiesFixture::on_test_server());
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

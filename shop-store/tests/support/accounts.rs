//! The kit on the stores of users and orders, and on outboxes.

use shop_core::conformance::{
    OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, UsersOfOrders, erase_users_suite, orders_suite,
    outbox_suite, record_store_suite, users_suite,
};

#[path = "embedded_accounts.rs"]
mod embedded;
#[path = "postgres_accounts.rs"]
mod fixture;

use crate::postgres;
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

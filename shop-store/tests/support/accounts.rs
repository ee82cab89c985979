//! The kit on the stores of users and orders, and on outboxes.

use shop_core::conformance::{
    OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, UsersOfOrders, erase_users_suite, orders_suite,
    outbox_suite, record_store_suite, users_suite,
};

#[path = "postgres_accounts.rs"]
mod fixture;

use crate::postgres;
use fixture::{OwnTable, PostgresEntitiesFixture};

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

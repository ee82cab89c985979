//! The kit on the stores and outboxes in memory.

use std::sync::Arc;

use shop_accounts::conformance::{
    MemoryEntities, OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, UsersOfOrders, erase_users_suite,
    orders_suite, outbox_suite, users_suite,
};
use shop_accounts::entity::EntityStore;
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{UserErase, UserOrders, UserStore};
use shop_core::conformance::record_store_suite;
use shop_core::ports::RecordStore;

/// A pointer to a port is the port.
macro_rules! pointers {
    ($($port:ty),+ $(,)?) => {
        $(const _: (fn(Box<$port>) -> Arc<$port>, fn(Arc<$port>) -> Box<$port>) =
            (|boxed| Arc::new(boxed), |shared| Box::new(shared));)+
    };
}

pointers!(
    dyn EntityStore<Order>,
    dyn Outbox,
    dyn RecordStore<Order>,
    dyn UserErase,
    dyn UserOrders,
    dyn UserStore,
);

erase_users_suite!(erase_users, async { MemoryEntities::default() });
users_suite!(users, async { MemoryEntities::default() });
orders_suite!(orders, async { MemoryEntities::default() });
outbox_suite!(outbox_of_users, async {
    OutboxOfUsers::new(MemoryEntities::default())
});
outbox_suite!(outbox_of_orders, async {
    OutboxOfOrders(MemoryEntities::default())
});
record_store_suite!(orders_of_users, async {
    OrdersOfUsers(MemoryEntities::default())
});
record_store_suite!(users_of_orders, async {
    UsersOfOrders(MemoryEntities::default())
});

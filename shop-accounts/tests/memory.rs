//! The kit on the stores and outboxes in memory.

use std::sync::Arc;

use shop_accounts::conformance::{MemoryEntities, entity_stores_suite};
use shop_accounts::entity::EntityStore;
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{UserErase, UserOrders, UserStore};
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

entity_stores_suite!(entities, async { Some(MemoryEntities::default()) });

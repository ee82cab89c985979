//! The kit on the implementations in memory: bare, behind `Box` and behind `Arc`, with one partition and with
//! several, cooperative and eager.

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::conformance::{
    Capabilities, EraseFixture, EraseUsersFixture, LogFixture, MemoryEntities, MemoryFixture, OrdersFixture,
    OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, PurchaseRecords, ShopOnLog, ShopOnStore, StoreFixture,
    UsersFixture, UsersOfOrders, erase_suite, erase_users_suite, feed_suite, log_admin_suite, log_suite,
    orders_suite, outbox_suite, pipeline_suite, record_store_suite, shop_suite, store_suite, users_suite,
};
use shop_core::entity::EntityStore;
use shop_core::log::{DeadLetters, Log, LogAdmin, LogSource, LogWriter, RecordPosition};
use shop_core::memory::{InMemoryLogOptions, Rebalancing};
use shop_core::orders::Order;
use shop_core::outbox::Outbox;
use shop_core::ports::{PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore, RecordStore};
use shop_core::users::{User, UserErase, UserStore};

fn partitions(partitions: u32, rebalancing: Rebalancing) -> MemoryFixture {
    let mut options = InMemoryLogOptions::default();
    options.partitions = partitions;
    options.rebalancing = rebalancing;
    MemoryFixture::new(options)
}

/// A log whose ports are behind one more pointer.
#[derive(Debug)]
struct BoxedLog(Box<dyn Log>);

impl Log for BoxedLog {
    fn writer(&self) -> Arc<dyn LogWriter> {
        let writer: Box<dyn LogWriter> = Box::new(self.0.writer());
        Arc::new(writer)
    }

    fn source(&self, group: &str) -> shop_core::Result<Arc<dyn LogSource>> {
        let source: Box<dyn LogSource> = Box::new(self.0.source(group)?);
        Ok(Arc::new(source))
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        let dead_letters: Box<dyn DeadLetters> = Box::new(self.0.dead_letters());
        Arc::new(dead_letters)
    }

    fn admin(&self) -> Arc<dyn LogAdmin> {
        let admin: Box<dyn LogAdmin> = Box::new(self.0.admin());
        Arc::new(admin)
    }
}

/// The same ports behind one more pointer.
#[derive(Debug, Default)]
struct Boxed(MemoryFixture);

#[async_trait]
impl LogFixture for Boxed {
    fn capabilities(&self) -> Capabilities {
        LogFixture::capabilities(&self.0)
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::new(BoxedLog(Box::new(self.0.log())))
    }

    async fn sink(&self) -> Arc<dyn PurchaseSink> {
        let sink: Box<dyn PurchaseSink> = Box::new(self.0.sink().await);
        Arc::new(sink)
    }

    async fn delete_before(&self, position: &RecordPosition) {
        self.0.delete_before(position).await;
    }
}

#[async_trait]
impl EraseFixture for Boxed {
    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        let erase: Box<dyn PurchaseErase> = Box::new(EraseFixture::erase(&self.0).await);
        Arc::new(erase)
    }
}

#[async_trait]
impl StoreFixture for Boxed {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        let store: Box<dyn PurchaseStore> = Box::new(self.0.store().await);
        Arc::new(store)
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        let query: Box<dyn PurchaseQuery> = Box::new(self.0.query().await);
        Arc::new(query)
    }
}

/// Users and orders, each port behind one more pointer.
#[derive(Debug, Default)]
struct BoxedEntities(MemoryEntities);

#[async_trait]
impl UsersFixture for BoxedEntities {
    async fn users(&self) -> Arc<dyn UserStore> {
        let users: Box<dyn UserStore> = Box::new(self.0.users().await);
        Arc::new(users)
    }

    async fn events(&self) -> Arc<dyn RecordStore<Order>> {
        let events: Box<dyn RecordStore<Order>> = Box::new(UsersFixture::events(&self.0).await);
        Arc::new(events)
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        let outbox: Box<dyn Outbox> = Box::new(UsersFixture::outbox(&self.0).await);
        Arc::new(outbox)
    }
}

#[async_trait]
impl EraseUsersFixture for BoxedEntities {
    async fn erase(&self) -> Arc<dyn UserErase> {
        let erase: Box<dyn UserErase> = Box::new(EraseUsersFixture::erase(&self.0).await);
        Arc::new(erase)
    }
}

#[async_trait]
impl OrdersFixture for BoxedEntities {
    async fn orders(&self) -> Arc<dyn EntityStore<Order>> {
        let orders: Box<dyn EntityStore<Order>> = Box::new(self.0.orders().await);
        Arc::new(orders)
    }

    async fn events(&self) -> Arc<dyn RecordStore<User>> {
        let events: Box<dyn RecordStore<User>> = Box::new(OrdersFixture::events(&self.0).await);
        Arc::new(events)
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        let outbox: Box<dyn Outbox> = Box::new(OrdersFixture::outbox(&self.0).await);
        Arc::new(outbox)
    }
}

log_suite!(one_partition, async { MemoryFixture::default() });
log_suite!(five_partitions, async { partitions(5, Rebalancing::Cooperative) });
log_suite!(five_partitions_eager, async { partitions(5, Rebalancing::Eager) });
log_suite!(boxed_log, async { Boxed::default() });
log_admin_suite!(admin_of_one_partition, async { MemoryFixture::default() });
log_admin_suite!(admin_of_five_partitions, async { partitions(5, Rebalancing::Cooperative) });
log_admin_suite!(boxed_admin, async { Boxed::default() });
erase_suite!(memory_erase, async { MemoryFixture::default() });
erase_suite!(boxed_erase, async { Boxed::default() });
erase_users_suite!(erase_users, async { MemoryEntities::default() });
erase_users_suite!(boxed_erase_users, async { BoxedEntities::default() });
store_suite!(memory_store, async { MemoryFixture::default() });
store_suite!(boxed_store, async { Boxed::default() });
pipeline_suite!(pipeline_one_partition, async { (MemoryFixture::default(), MemoryFixture::default()) });
pipeline_suite!(pipeline_five_partitions, async {
    (partitions(5, Rebalancing::Cooperative), MemoryFixture::default())
});
pipeline_suite!(pipeline_eager, async { (partitions(5, Rebalancing::Eager), MemoryFixture::default()) });
feed_suite!(feed_one_partition, async { (MemoryFixture::default(), MemoryFixture::default()) });
feed_suite!(feed_five_partitions, async {
    (partitions(5, Rebalancing::Cooperative), MemoryFixture::default())
});
pipeline_suite!(pipeline_boxed, async { (Boxed::default(), Boxed::default()) });
users_suite!(users, async { MemoryEntities::default() });
orders_suite!(orders, async { MemoryEntities::default() });
outbox_suite!(outbox, async { MemoryEntities::default() });
outbox_suite!(outbox_of_users, async { OutboxOfUsers::new(MemoryEntities::default()) });
outbox_suite!(outbox_of_orders, async { OutboxOfOrders(MemoryEntities::default()) });
users_suite!(boxed_users, async { BoxedEntities::default() });
orders_suite!(boxed_orders, async { BoxedEntities::default() });
outbox_suite!(boxed_outbox, async { OutboxOfUsers::new(BoxedEntities::default()) });
record_store_suite!(purchase_records, async { PurchaseRecords(MemoryFixture::default()) });
record_store_suite!(orders_of_users, async { OrdersOfUsers(MemoryEntities::default()) });
record_store_suite!(users_of_orders, async { UsersOfOrders(MemoryEntities::default()) });
record_store_suite!(boxed_records, async { OrdersOfUsers(BoxedEntities::default()) });
shop_suite!(shop_on_store, async { ShopOnStore(MemoryFixture::default()) });
shop_suite!(shop_on_log, ShopOnLog::new(MemoryFixture::default(), MemoryFixture::default()));
shop_suite!(shop_on_boxed, ShopOnLog::new(Boxed::default(), Boxed::default()));

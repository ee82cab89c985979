//! The kit on the implementations in memory: bare, behind `Box` and behind `Arc`, with one partition and with
//! several, cooperative and eager.

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::conformance::{
    Capabilities, EraseFixture, LogFixture, MemoryFixture, PurchaseRecords, ShopOnLog, ShopOnStore,
    StoreFixture, erase_suite, feed_suite, log_admin_suite, log_suite, pipeline_suite, record_store_suite,
    shop_suite, store_suite,
};
use shop_core::log::{DeadLetters, Log, LogAdmin, LogSource, LogWriter, RecordPosition};
use shop_core::memory::{InMemoryLogOptions, Rebalancing};
use shop_core::ports::{PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore};

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

log_suite!(one_partition, async { MemoryFixture::default() });
log_suite!(five_partitions, async { partitions(5, Rebalancing::Cooperative) });
log_suite!(five_partitions_eager, async { partitions(5, Rebalancing::Eager) });
log_suite!(boxed_log, async { Boxed::default() });
log_admin_suite!(admin_of_one_partition, async { MemoryFixture::default() });
log_admin_suite!(admin_of_five_partitions, async { partitions(5, Rebalancing::Cooperative) });
log_admin_suite!(boxed_admin, async { Boxed::default() });
erase_suite!(memory_erase, async { MemoryFixture::default() });
erase_suite!(boxed_erase, async { Boxed::default() });
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
record_store_suite!(purchase_records, async { PurchaseRecords(MemoryFixture::default()) });
shop_suite!(shop_on_store, async { ShopOnStore(MemoryFixture::default()) });
shop_suite!(shop_on_log, ShopOnLog::new(MemoryFixture::default(), MemoryFixture::default()));
shop_suite!(shop_on_boxed, ShopOnLog::new(Boxed::default(), Boxed::default()));

#[cfg(feature = "accounts")]
mod accounts {
    use shop_core::conformance::{
        MemoryEntities, OrdersOfUsers, OutboxOfOrders, OutboxOfUsers, UsersOfOrders, erase_users_suite,
        orders_suite, outbox_suite, record_store_suite, users_suite,
    };
    use shop_core::outbox::Outbox;
    use shop_core::users::{UserErase, UserStore};

    use super::Arc;

    /// The same macro forwards the ports of users and orders.
    const _: fn(Box<dyn UserStore>) -> Arc<dyn UserStore> = |users| Arc::new(users);
    const _: fn(Box<dyn UserErase>) -> Arc<dyn UserErase> = |erase| Arc::new(erase);
    const _: fn(Box<dyn Outbox>) -> Arc<dyn Outbox> = |outbox| Arc::new(outbox);

    erase_users_suite!(erase_users, async { MemoryEntities::default() });
    users_suite!(users, async { MemoryEntities::default() });
    orders_suite!(orders, async { MemoryEntities::default() });
    outbox_suite!(outbox, async { MemoryEntities::default() });
    outbox_suite!(outbox_of_users, async { OutboxOfUsers::new(MemoryEntities::default()) });
    outbox_suite!(outbox_of_orders, async { OutboxOfOrders(MemoryEntities::default()) });
    record_store_suite!(orders_of_users, async { OrdersOfUsers(MemoryEntities::default()) });
    record_store_suite!(users_of_orders, async { UsersOfOrders(MemoryEntities::default()) });
}

//! The kit on the implementations in memory: with one partition and with several, cooperative and eager.

use std::sync::Arc;

use shop_core::conformance::fault::Faults;
use shop_core::conformance::{
    MemoryFixture, ShopOnLog, ShopOnStore, currency_suite, decorator_suite, erase_suite,
    feed_suite, log_admin_suite, log_suite, operations_suite, pipeline_suite, refund_suite,
    shop_suite, store_suite,
};
use shop_core::log::{Log, LogSource};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore, Rebalancing};
use shop_core::ports::{
    CurrencyStore, IdempotentSink, PurchaseErase, PurchaseEvents, PurchaseQuery, PurchaseSink,
    PurchaseStore, WaitingRefunds,
};

fn partitions(rebalancing: Rebalancing) -> MemoryFixture {
    let mut options = InMemoryLogOptions::default();
    options.partitions = 5;
    options.rebalancing = rebalancing;
    MemoryFixture::new(options)
}

/// A pointer to a port is the port.
macro_rules! pointers {
    ($($port:ty),+ $(,)?) => {
        $(const _: (fn(Box<$port>) -> Arc<$port>, fn(Arc<$port>) -> Box<$port>) =
            (|boxed| Arc::new(boxed), |shared| Box::new(shared));)+
    };
}

pointers!(
    dyn CurrencyStore,
    dyn Log,
    dyn LogSource,
    dyn PurchaseErase,
    dyn PurchaseEvents,
    dyn PurchaseQuery,
    dyn PurchaseSink,
    dyn PurchaseStore,
    dyn WaitingRefunds,
);

#[tokio::test]
async fn a_pointer_forwards_overridden_defaults() {
    let log: Arc<dyn Log> = Arc::new(InMemoryLog::default());
    let query: Arc<dyn PurchaseQuery> = Arc::new(InMemoryStore::new());
    let log: Box<dyn Log> = Box::new(log);
    let query: Box<dyn PurchaseQuery> = Box::new(query);
    assert!(log.info().eraser.is_some());
    // By default unsupported.
    assert_eq!(
        query
            .info()
            .user_names
            .unwrap()
            .next_name("")
            .await
            .unwrap(),
        None
    );
}

decorator_suite!(idempotent_sink, sink: |inner| {
    IdempotentSink::new(inner, Arc::new(InMemoryStore::new()))
});
decorator_suite!(faulty_sink, sink: |inner| Faults::new().sink(inner));
decorator_suite!(faulty_store, store: |inner| Faults::new().store(inner));
decorator_suite!(faulty_query, query: |inner| Faults::new().query(inner));

log_suite!(one_partition, async { MemoryFixture::default() });
log_suite!(five_partitions, async {
    partitions(Rebalancing::Cooperative)
});
shop_core::conformance_cases!(
    eager_rebalances, fixture = (async { partitions(Rebalancing::Eager) }), log, (&fixture);
    a_rebalance_waits_for_the_revocation,
    a_revocation_ends_at_its_timeout,
    next_control_returns_no_batch,
    a_member_starts_at_the_committed_position,
    a_closed_source_releases_its_partitions,
);
log_admin_suite!(admin, async { partitions(Rebalancing::Cooperative) });
erase_suite!(memory_erase, async { MemoryFixture::default() });
refund_suite!(memory_refunds, async { MemoryFixture::default() });
currency_suite!(memory_currency, async { MemoryFixture::default() });
store_suite!(memory_store, async { MemoryFixture::default() });
pipeline_suite!(pipeline, async {
    (
        partitions(Rebalancing::Cooperative),
        MemoryFixture::default(),
    )
});
feed_suite!(feed, async {
    (
        partitions(Rebalancing::Cooperative),
        MemoryFixture::default(),
    )
});
operations_suite!(operations, async {
    (MemoryFixture::default(), MemoryFixture::default())
});
shop_suite!(shop_on_store, async {
    ShopOnStore(MemoryFixture::default())
});
shop_suite!(
    shop_on_log,
    ShopOnLog::new(MemoryFixture::default(), MemoryFixture::default())
);

//! Implementations of the ports for `Arc` and `Box` of a port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, DeadLetter, DeadLetterState, DeadLetters, Lag, Log,
    LogAdmin, LogRecord, LogSource, LogUsage, LogWriter, Partition, RecordPosition, RecordType, SourceEvent,
    Tail, TailStart,
};
use crate::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement};
use crate::outbox::{Backlog, Outbox, OutboxEntry};
use crate::ports::{
    Bucket, Durability, InsertOutcome, Page, PageRequest, PublishedPurchase, PurchaseErase, PurchaseQuery,
    PurchaseSink, Receipt, RecordStore, ScanBatch, ScanPosition, Selector, Summary, TotalsRequest,
};
use crate::record::Record;
use crate::users::{NewUser, Registration, User, UserErase, UserNumber, UserStore};
use crate::{NewPurchase, Purchase, PurchaseId, RequestContext, Result, Timestamp, UserId};

/// Forwards every call of a port to the pointee. A generic port is preceded by its parameters.
macro_rules! forward {
    ($([$($generic:tt)+])? $port:path { $($calls:tt)+ }) => {
        forward!(Arc: [$($($generic)+)?] $port { $($calls)+ });
        forward!(Box: [$($($generic)+)?] $port { $($calls)+ });
    };
    ($pointer:ident: [$($generic:tt)*] $port:path {
        $(async fn $call:ident($($name:ident: $type:ty),*) $(-> $answer:ty)?;)*
        $(fn $direct:ident($($argument:ident: $of:ty),*) -> $known:ty;)*
    }) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<$($generic)* T: $port + ?Sized> $port for $pointer<T> {
            $(async fn $call(&self, $($name: $type),*) $(-> $answer)? {
                (**self).$call($($name),*).await
            })*
            $(fn $direct(&self, $($argument: $of),*) -> $known {
                (**self).$direct($($argument),*)
            })*
        }
    };
}

forward!(PurchaseSink {
    async fn publish(purchase: &Purchase) -> Result<Receipt>;
    async fn publish_many(purchases: &[Purchase]) -> Vec<Result<Receipt>>;
    async fn publish_new(new: NewPurchase, context: Option<Box<RequestContext>>) -> Result<PublishedPurchase>;
    async fn publish_new_many(new: Vec<NewPurchase>, context: Option<Box<RequestContext>>) -> Vec<Result<PublishedPurchase>>;
    async fn check() -> Result<()>;
    async fn close(deadline: Duration) -> Result<()>;
    fn durability() -> Durability;
});

forward!([R: Record,] RecordStore<R> {
    async fn apply(batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;
    async fn apply_unsynced(batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;
    async fn sync() -> Result<()>;
    async fn check() -> Result<()>;
});

forward!(PurchaseQuery {
    async fn page(selector: &Selector, request: &PageRequest) -> Result<Page>;
    async fn summary(selector: &Selector) -> Result<Summary>;
    async fn totals(selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>>;
    async fn get(id: &PurchaseId) -> Result<Option<Purchase>>;
    async fn wait_for(id: &PurchaseId, timeout: Duration) -> Result<bool>;
    async fn scan_batch(after: Option<&ScanPosition>) -> Result<ScanBatch>;
    async fn check_reads() -> Result<()>;
});

forward!(PurchaseErase {
    async fn erase(user: &UserId, limit: usize) -> Result<u64>;
    async fn mark_erased(ids: &[PurchaseId]) -> Result<u64>;
    async fn is_erased(id: &PurchaseId) -> Result<bool>;
    async fn delete_before(time: Timestamp, limit: usize) -> Result<u64>;
});

forward!(UserErase {
    async fn erase_user(id: UserNumber) -> Result<bool>;
});

forward!(UserStore {
    async fn register(new: &NewUser) -> Result<Registration>;
    async fn user(id: UserNumber) -> Result<Option<User>>;
    async fn orders_of(id: UserNumber) -> Result<Option<Vec<OrderNumber>>>;
    async fn check_users() -> Result<()>;
});

forward!(OrderStore {
    async fn place(new: &NewOrder) -> Result<Placement>;
    async fn order(id: OrderNumber) -> Result<Option<Order>>;
    async fn check_orders() -> Result<()>;
});

forward!(Outbox {
    async fn pending(limit: usize) -> Result<Vec<OutboxEntry>>;
    async fn delete(ids: &[i64]) -> Result<()>;
    async fn backlog() -> Result<Backlog>;
    async fn wait_for_entries();
});

forward!(LogWriter {
    async fn append(record: LogRecord) -> Result<()>;
    async fn check() -> Result<()>;
});

forward!(LogSource {
    async fn next() -> Result<SourceEvent>;
    async fn next_control() -> Result<ControlEvent>;
    async fn commit(positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>>;
    async fn lag() -> Result<Lag>;
    async fn check() -> Result<()>;
    async fn close(deadline: Duration) -> Result<()>;
});

forward!(DeadLetters {
    async fn put(dead_letters: &[DeadLetter]) -> Result<()>;
    async fn contains(record: &LogRecord, partition: &Partition) -> Result<bool>;
    async fn check() -> Result<()>;
});

forward!(LogAdmin {
    async fn scan() -> Result<BoxStream<'static, Result<Batch>>>;
    async fn tail(start: &TailStart) -> Result<Tail>;
    async fn find(index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>>;
    async fn scan_dead_letters() -> Result<BoxStream<'static, Result<DeadLetterState>>>;
    async fn replay(dead_letters: &[DeadLetter], of: RecordType) -> Result<u64>;
    async fn discard(dead_letters: &[DeadLetter], of: RecordType) -> Result<u64>;
    async fn erase(records: &[RecordPosition]) -> Result<u64>;
    async fn usage() -> Result<Option<LogUsage>>;
    async fn forget_group(group: &str) -> Result<bool>;
    async fn reset_group(group: &str, next_offset: u64) -> Result<bool>;
    fn first_offset() -> u64;
    fn retention() -> Option<Duration>;
});

forward!(Log {
    fn writer() -> Arc<dyn LogWriter>;
    fn source(group: &str) -> Result<Arc<dyn LogSource>>;
    fn dead_letters() -> Arc<dyn DeadLetters>;
    fn admin() -> Arc<dyn LogAdmin>;
});

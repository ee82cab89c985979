//! `Arc` and `Box` of a port are that port.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::log::{LogRecord, LogWriter};
use crate::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement};
use crate::outbox::{Backlog, Outbox, OutboxEntry};
use crate::ports::{
    Durability, InsertOutcome, Page, PageRequest, PurchaseQuery, PurchaseSink, Receipt, RecordStore,
    Selector, Summary,
};
use crate::record::Record;
use crate::users::{NewUser, Registration, User, UserNumber, UserStore};
use crate::{Purchase, PurchaseId, Result};

/// Forwards every call of a port to the port behind the pointer. A generic port has its parameters before it.
macro_rules! forward {
    ($([$($generic:tt)+])? $port:path { $($calls:tt)+ }) => {
        forward!(Arc: [$($($generic)+)?] $port { $($calls)+ });
        forward!(Box: [$($($generic)+)?] $port { $($calls)+ });
    };
    ($pointer:ident: [$($generic:tt)*] $port:path {
        $(async fn $call:ident($($name:ident: $type:ty),*) $(-> $answer:ty)?;)+
        $(fn $direct:ident() -> $known:ty;)*
    }) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<$($generic)* T: $port + ?Sized> $port for $pointer<T> {
            $(async fn $call(&self, $($name: $type),*) $(-> $answer)? {
                (**self).$call($($name),*).await
            })+
            $(fn $direct(&self) -> $known {
                (**self).$direct()
            })*
        }
    };
}

forward!(PurchaseSink {
    async fn publish(purchase: &Purchase) -> Result<Receipt>;
    async fn check() -> Result<()>;
    async fn close(deadline: Duration) -> Result<()>;
    fn durability() -> Durability;
});

forward!([R: Record,] RecordStore<R> {
    async fn apply(batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;
    async fn check() -> Result<()>;
});

forward!(PurchaseQuery {
    async fn page(selector: &Selector, request: &PageRequest) -> Result<Page>;
    async fn summary(selector: &Selector) -> Result<Summary>;
    async fn get(id: &PurchaseId) -> Result<Option<Purchase>>;
    async fn check_reads() -> Result<()>;
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
    async fn pending(most: usize) -> Result<Vec<OutboxEntry>>;
    async fn forget(ids: &[i64]) -> Result<()>;
    async fn backlog() -> Result<Backlog>;
    async fn changed();
});

forward!(LogWriter {
    async fn append(record: LogRecord) -> Result<()>;
    async fn check() -> Result<()>;
});

//! Places between two steps at which a test may end the process, as a crash would.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fail::FailScenario;
use futures_util::FutureExt;

use crate::log::{
    CommitOffset, CommitOutcome, ControlEvent, DeadLetter, DeadLetters, Lag, LogRecord, LogSource, LogWriter,
    SourceEvent,
};
use crate::orders::{NewOrder, Order, OrderNumber, OrderStore, Placement};
use crate::outbox::{Backlog, Outbox, OutboxEntry};
use crate::ports::{Durability, InsertOutcome, PurchaseSink, PurchaseStore, Receipt, RecordStore};
use crate::record::Record;
use crate::users::{NewUser, Registration, User, UserNumber, UserStore};
use crate::{Purchase, Result};

/// The names of all failpoints, in the order in which a purchase comes by. Each is before or after a step that
/// reaches a disk.
///
/// With the action `return`, for example by `FAILPOINTS=inserted=3*off->return`, the process ends on the spot
/// (<https://docs.rs/fail/0.5.1/fail/>).
pub const FAILPOINTS: [&str; 10] = [
    "before-publish",
    "publish-on-its-way",
    "published",
    "before-insert",
    "inserted",
    "before-dead-letters",
    "dead-letters-put",
    "before-commit",
    "committed",
    "before-close",
];

/// The same for a row that is told of, in the order in which it and its event come by.
pub const OUTBOX_FAILPOINTS: [&str; 8] = [
    "before-row",
    "row-written",
    "before-append",
    "appended",
    "before-forget",
    "forgotten",
    "before-apply",
    "applied",
];

/// Reads `FAILPOINTS` from the environment, for as long as the process lives.
pub fn init_failpoints() {
    std::mem::forget(FailScenario::setup());
}

fn reached(point: &'static str) {
    // Without unwinding, and without anything that an orderly end would do.
    let _not_to_end_here: Option<()> = fail::eval(point, |_| std::process::abort());
}

/// `port` with a failpoint before and after each step.
#[derive(Debug)]
pub struct Failpoints<P: ?Sized>(pub Arc<P>);

#[async_trait]
impl PurchaseSink for Failpoints<dyn PurchaseSink> {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        reached("before-publish");
        let mut publish = self.0.publish(purchase);
        // Polled once, it is on its way.
        let early = (&mut publish).now_or_never();
        reached("publish-on-its-way");
        let receipt = match early {
            Some(receipt) => receipt,
            None => publish.await,
        };
        reached("published");
        receipt
    }

    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.0.close(deadline).await
    }
}

#[async_trait]
impl PurchaseStore for Failpoints<dyn PurchaseStore> {
    async fn insert(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        reached("before-insert");
        let outcomes = self.0.insert(batch).await;
        reached("inserted");
        outcomes
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

#[async_trait]
impl DeadLetters for Failpoints<dyn DeadLetters> {
    async fn put(&self, letters: &[DeadLetter]) -> Result<()> {
        reached("before-dead-letters");
        let put = self.0.put(letters).await;
        reached("dead-letters-put");
        put
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

#[async_trait]
impl LogSource for Failpoints<dyn LogSource> {
    async fn next(&self) -> Result<SourceEvent> {
        self.0.next().await
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        self.0.next_control().await
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        reached("before-commit");
        let outcomes = self.0.commit(positions).await;
        reached("committed");
        outcomes
    }

    async fn lag(&self) -> Result<Lag> {
        self.0.lag().await
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        reached("before-close");
        self.0.close(deadline).await
    }
}

#[async_trait]
impl UserStore for Failpoints<dyn UserStore> {
    async fn register(&self, new: &NewUser) -> Result<Registration> {
        reached("before-row");
        let registered = self.0.register(new).await;
        reached("row-written");
        registered
    }

    async fn user(&self, id: UserNumber) -> Result<Option<User>> {
        self.0.user(id).await
    }

    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.0.orders_of(id).await
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

#[async_trait]
impl OrderStore for Failpoints<dyn OrderStore> {
    async fn place(&self, new: &NewOrder) -> Result<Placement> {
        reached("before-row");
        let placed = self.0.place(new).await;
        reached("row-written");
        placed
    }

    async fn order(&self, id: OrderNumber) -> Result<Option<Order>> {
        self.0.order(id).await
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

#[async_trait]
impl LogWriter for Failpoints<dyn LogWriter> {
    async fn append(&self, record: LogRecord) -> Result<()> {
        reached("before-append");
        let appended = self.0.append(record).await;
        reached("appended");
        appended
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }
}

#[async_trait]
impl Outbox for Failpoints<dyn Outbox> {
    async fn pending(&self, most: usize) -> Result<Vec<OutboxEntry>> {
        self.0.pending(most).await
    }

    async fn forget(&self, ids: &[i64]) -> Result<()> {
        reached("before-forget");
        let forgotten = self.0.forget(ids).await;
        reached("forgotten");
        forgotten
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.0.backlog().await
    }

    async fn changed(&self) {
        self.0.changed().await;
    }
}

#[async_trait]
impl<R: Record> RecordStore<R> for Failpoints<dyn RecordStore<R>> {
    async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>> {
        reached("before-apply");
        let outcomes = self.0.apply(batch).await;
        reached("applied");
        outcomes
    }

    async fn probe(&self) -> Result<()> {
        self.0.probe().await
    }
}

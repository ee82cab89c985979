//! Ports with hooks around their calls, used by fault scripts and failpoints.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::call::{Call, Fault, complete_later, no_answer};
use crate::entity::{Entity, EntityStore, Insertion};
use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, DeadLetter, DeadLetterFilter, DeadLetterState,
    DeadLetters, Lag, LogAdmin, LogRecord, LogSource, LogUsage, LogWriter, Offsets, Partition,
    RecordPosition, RecordType, SourceEvent, Tail, TailStart,
};
use crate::orders::OrderNumber;
use crate::outbox::{Backlog, Outbox, OutboxEntry};
use crate::ports::{
    Bucket, Durability, InsertOutcome, Lookup, Page, PageRequest, PublishedPurchase, PurchaseQuery,
    PurchaseSink, PurchaseStore, Receipt, RecordStore, ScanBatch, ScanPosition, Selector, Summary,
    TotalsRequest,
};
use crate::record::Record;
use crate::users::{UserNumber, UserOrders};
use crate::{Error, ErrorKind, NewPurchase, Purchase, PurchaseId, RequestContext, Result};

/// Hooks around the calls of a port.
pub(super) trait Hooks: Debug + Send + Sync + 'static {
    /// Called before a call. Returns the fault to inject.
    fn before(&self, call: Call) -> Option<Fault>;

    /// Called after the first poll of a call.
    fn begun(&self, _call: Call) {}

    /// Called when a call has returned.
    fn after(&self, _call: Call) {}
}

/// A port with hooks around its calls. Implements the same port.
#[derive(Debug)]
pub struct Hooked<P: ?Sized> {
    port: Arc<P>,
    hooks: Arc<dyn Hooks>,
}

impl<P: ?Sized> Hooked<P> {
    pub(super) fn new(port: Arc<P>, hooks: impl Hooks) -> Arc<Self> {
        Arc::new(Self { port, hooks: Arc::new(hooks) })
    }
}

impl<P: ?Sized + Send + Sync> Hooked<P> {
    async fn call<T>(&self, call: Call, made: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.suffer(call, self.hooks.before(call), made).await
    }

    /// Makes a call that can be refused, delayed, or lose its result.
    async fn suffer<T>(
        &self,
        call: Call,
        fault: Option<Fault>,
        made: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match &fault {
            Some(Fault::Refuse(error)) => return Err(error.clone()),
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        let (mut made, mut has_begun) = (pin!(made), false);
        let answer = poll_fn(|context| {
            let answer = made.as_mut().poll(context);
            if !std::mem::replace(&mut has_begun, true) {
                self.hooks.begun(call);
            }
            answer
        });
        let answer = answer.await;
        self.hooks.after(call);
        match fault {
            Some(Fault::LoseAnswer) => answer.and(Err(no_answer())),
            _ => answer,
        }
    }

    /// Publishes a batch. A fault applies to all of it, a [`PartialInsert`](Fault::PartialInsert) to every second one.
    async fn batch<A: Clone + Send + Sync, T: Send, F: Future<Output = Vec<Result<T>>> + Send>(
        &self,
        all: &[A],
        publish: impl FnOnce(Vec<A>) -> F + Send,
    ) -> Vec<Result<T>> {
        let fault = self.hooks.before(Call::Publish);
        let skips = matches!(fault, Some(Fault::PartialInsert));
        let made = all.iter().step_by(if skips { 2 } else { 1 }).cloned().collect();
        let published = publish(made);
        match self.suffer(Call::Publish, fault, async { Ok(published.await) }).await {
            Ok(results) if skips => {
                let results = results.into_iter().flat_map(|result| [result, Err(left_out())]);
                results.take(all.len()).collect()
            }
            Ok(results) => results,
            Err(error) => all.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Makes a call that can outlive its caller.
    async fn detachable<T: Send + 'static>(
        &self,
        call: Call,
        fault: Option<Fault>,
        made: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match fault {
            Some(Fault::CompleteAfterTimeout(time)) => Err(complete_later(time, made)),
            fault => self.suffer(call, fault, made).await,
        }
    }
}

/// Implements a port: each method maps to the call of that name; items after the block are copied.
macro_rules! hooked {
    ($port:ident {
        $($call:ident: $method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*
    } $($rest:tt)*) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl $port for Hooked<dyn $port> {
            $(
                async fn $method(&self, $($argument: $type),*) -> Result<$answer> {
                    self.call(Call::$call, self.port.$method($($argument),*)).await
                }
            )*

            $($rest)*
        }
    };
}

hooked!(PurchaseSink {
    Publish: publish(purchase: &Purchase) -> Receipt;
    Publish: publish_new(new: NewPurchase, context: Option<Box<RequestContext>>) -> PublishedPurchase;
    Check: check() -> ();
    Close: close(deadline: Duration) -> ();
}
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        self.batch(purchases, |purchases| async move { self.port.publish_many(&purchases).await }).await
    }

    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        self.batch(&new, |new| self.port.publish_new_many(new, context)).await
    }

    fn is_idempotent(&self) -> bool {
        self.port.is_idempotent()
    }

    fn durability(&self) -> Durability {
        self.port.durability()
    }
);

/// The outcome of what a [`Fault::PartialInsert`] skips.
fn left_out() -> Error {
    Error::new(ErrorKind::Unavailable, "skipped on purpose").with_origin("fault")
}

/// The call by which a store receives a batch.
trait Applies {
    const CALL: Call;
}

impl Applies for dyn PurchaseStore {
    const CALL: Call = Call::Insert;
}

impl<R: Record> Applies for dyn RecordStore<R> {
    const CALL: Call = Call::Apply;
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<R: Record, S: Applies + RecordStore<R> + ?Sized> RecordStore<R> for Hooked<S> {
    async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>> {
        match self.hooks.before(S::CALL) {
            Some(Fault::PartialInsert) => {
                let applied = self.port.apply(batch.iter().step_by(2).cloned().collect()).await?;
                let unknown = || InsertOutcome::Unknown(left_out());
                let outcomes = applied.into_iter().flat_map(|known| [known, unknown()]);
                Ok(outcomes.take(batch.len()).collect())
            }
            Some(Fault::Reject(reason)) => {
                let applied = self.port.apply(batch.iter().skip(1).cloned().collect()).await?;
                let rejected = std::iter::once(InsertOutcome::Rejected(reason));
                Ok(rejected.chain(applied).take(batch.len()).collect())
            }
            fault => {
                let port = Arc::clone(&self.port);
                self.detachable(S::CALL, fault, async move { port.apply(batch).await }).await
            }
        }
    }

    async fn check(&self) -> Result<()> {
        self.call(Call::Check, self.port.check()).await
    }
}

hooked!(PurchaseQuery {
    Query: page(selector: &Selector, request: &PageRequest) -> Page;
    Query: summary(selector: &Selector) -> Summary;
    Query: totals(selector: &Selector, request: &TotalsRequest) -> Vec<Bucket>;
    Query: get(id: &PurchaseId) -> Option<Purchase>;
    Query: look_up(id: &PurchaseId) -> Lookup;
    Query: wait_for(id: &PurchaseId, timeout: Duration) -> bool;
    Query: scan_batch(after: Option<&ScanPosition>) -> ScanBatch;
    Check: check_reads() -> ();
});

hooked!(DeadLetters {
    Query: contains(record: &LogRecord, partition: &Partition) -> bool;
    Check: check() -> ();
}
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let (port, dead_letters) = (Arc::clone(&self.port), dead_letters.to_vec());
        let put = async move { port.put(&dead_letters).await };
        self.detachable(Call::PutDeadLetters, self.hooks.before(Call::PutDeadLetters), put).await
    }
);

hooked!(LogWriter {
    Check: check() -> ();
}
    async fn append(&self, record: LogRecord) -> Result<()> {
        let port = Arc::clone(&self.port);
        let append = async move { port.append(record).await };
        self.detachable(Call::Append, self.hooks.before(Call::Append), append).await
    }
);

hooked!(LogAdmin {
    Query: scan() -> BoxStream<'static, Result<Batch>>;
    Query: tail(start: &TailStart) -> Tail;
    Query: positions(group: &str) -> Offsets;
    Query: find(index: u32, offset: u64) -> Option<(Partition, LogRecord)>;
    Query: scan_dead_letters() -> BoxStream<'static, Result<DeadLetterState>>;
    Query: dead_letters(filter: &DeadLetterFilter, limit: usize) -> Vec<DeadLetter>;
    Query: dead_letters_at(positions: &BTreeSet<RecordPosition>) -> Vec<DeadLetter>;
    Replay: replay(dead_letters: &[DeadLetter], of: RecordType) -> u64;
    Discard: discard(dead_letters: &[DeadLetter], of: RecordType) -> u64;
    Query: usage() -> Option<LogUsage>;
    Discard: erase(records: &[RecordPosition]) -> u64;
    Discard: forget_group(group: &str) -> bool;
    Discard: reset_group(group: &str, next_offset: u64) -> bool;
}
    fn first_offset(&self) -> u64 {
        self.port.first_offset()
    }

    fn retention(&self) -> Option<Duration> {
        self.port.retention()
    }
);

hooked!(LogSource {
    Check: lag() -> Lag;
    Check: check() -> ();
    Close: close(deadline: Duration) -> ();
}
    async fn next(&self) -> Result<SourceEvent> {
        self.port.next().await
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        self.port.next_control().await
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        match self.hooks.before(Call::Commit) {
            Some(Fault::LoseCommit) => Ok(vec![CommitOutcome::Committed; positions.len()]),
            fault => {
                let (port, positions) = (Arc::clone(&self.port), positions.to_vec());
                self.detachable(Call::Commit, fault, async move { port.commit(&positions).await }).await
            }
        }
    }
);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<E: Entity, S: EntityStore<E> + ?Sized> EntityStore<E> for Hooked<S> {
    async fn insert(&self, new: &E::New) -> Result<Insertion<E>> {
        self.call(Call::InsertEntity, self.port.insert(new)).await
    }

    async fn get(&self, number: E::Number) -> Result<Option<E>> {
        self.call(Call::Query, self.port.get(number)).await
    }

    async fn check(&self) -> Result<()> {
        self.call(Call::Check, self.port.check()).await
    }
}

#[async_trait]
impl<S: UserOrders + ?Sized> UserOrders for Hooked<S> {
    async fn orders_of(&self, id: UserNumber) -> Result<Option<Vec<OrderNumber>>> {
        self.call(Call::Query, self.port.orders_of(id)).await
    }
}

hooked!(Outbox {
    Pending: pending(limit: usize) -> Vec<OutboxEntry>;
    Delete: delete(ids: &[i64]) -> ();
    Query: backlog() -> Backlog;
}
    async fn wait_for_entries(&self) {
        self.port.wait_for_entries().await;
    }
);

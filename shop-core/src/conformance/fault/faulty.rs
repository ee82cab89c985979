//! Ports with the faults of a script.

use std::fmt::Debug;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::super::prelude::*;
use super::call::{complete_later, no_answer};
use crate::Error;
use crate::log::{DeadLetterFilter, DeadLetterState, Log, LogInfo, LogScan, RecordType, ScanEnd};
use crate::ports::{
    Bucket, Cursor, DescribeStore, InsertOutcome, Page, PurchaseSink, Receipt, RecordStore,
    ScanBatch, SinkInfo, StoreInfo,
};

/// A port whose calls have the faults of a script. Implements the same port.
#[derive(Debug)]
pub struct Faulty<P: ?Sized> {
    /// The port without faults.
    pub port: Arc<P>,
    pub(super) faults: Faults,
}

impl<P: ?Sized> Faulty<P> {
    /// Wraps `port`.
    pub fn new(port: Arc<P>, faults: &Faults) -> Arc<Self> {
        Arc::new(Self {
            port,
            faults: faults.clone(),
        })
    }
}

impl<P: ?Sized + Send + Sync> Faulty<P> {
    /// Makes `port_call`, which is a `call`, with the next fault of the script for such calls.
    ///
    /// # Errors
    /// Returns the errors of the call and of its fault.
    pub async fn call<T>(
        &self,
        call: Call,
        port_call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        inject(self.faults.take(call), port_call).await
    }

    /// Makes `port_call` with `fault`. Unlike [`call`](Self::call), the call can complete in the
    /// background, after its caller got an error.
    pub(super) async fn detachable<T: Send + 'static>(
        fault: Option<Fault>,
        port_call: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match fault {
            Some(Fault::CompleteAfterTimeout(delay)) => Err(complete_later(delay, port_call)),
            fault => inject(fault, port_call).await,
        }
    }
}

/// Makes `port_call` with `fault`: the call is refused, is delayed, or loses its result.
///
/// Other faults are injected by the port that makes the call.
async fn inject<T>(
    fault: Option<Fault>,
    port_call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    match &fault {
        Some(Fault::Refuse(error)) => return Err(error.clone()),
        Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
        _ => {}
    }
    let result = port_call.await;
    match fault {
        // An error of the call stays an error.
        Some(Fault::LoseAnswer) => result.and(Err(no_answer())),
        _ => result,
    }
}

/// Implements a port: each method maps to the call of that name; items after the block are copied.
macro_rules! faulty {
    ($port:ident {
        $($call:ident: $method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*
    } $($rest:tt)*) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl $port for Faulty<dyn $port> {
            $(
                async fn $method(&self, $($argument: $type),*) -> Result<$answer> {
                    self.call(Call::$call, self.port.$method($($argument),*)).await
                }
            )*

            $($rest)*
        }
    };
}

faulty!(PurchaseSink {
    Publish: publish(purchase: &Purchase) -> Receipt;
    Check: check() -> ();
    Close: close(deadline: Duration) -> ();
}
    /// A fault applies to the whole batch, a [`PartialInsert`](Fault::PartialInsert) to every
    /// second purchase.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let fault = self.faults.take(Call::Publish);
        let skips_every_second = matches!(fault, Some(Fault::PartialInsert));
        let step = if skips_every_second { 2 } else { 1 };
        let published: Vec<Purchase> = purchases.iter().step_by(step).cloned().collect();
        match inject(fault, async { Ok(self.port.publish_many(&published).await) }).await {
            Ok(receipts) if skips_every_second => {
                let results = receipts
                    .into_iter()
                    .flat_map(|receipt| [receipt, Err(skipped_error())]);
                results.take(purchases.len()).collect()
            }
            Ok(receipts) => receipts,
            Err(error) => purchases.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// The faults are those of `publish`.
    fn publish_unboxed<'a>(
        &'a self,
        purchase: &'a Purchase,
    ) -> impl Future<Output = Result<Receipt>> + Send + 'a {
        self.publish(purchase)
    }

    fn info(&self) -> SinkInfo {
        self.port.info()
    }
);

/// Returns the error of a purchase that a [`Fault::PartialInsert`] skips.
fn skipped_error() -> Error {
    Error::new(ErrorKind::Unavailable, "skipped on purpose").with_origin("fault")
}

impl<P: DescribeStore + ?Sized> DescribeStore for Faulty<P> {
    fn info(&self) -> StoreInfo<'_> {
        self.port.info()
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl RecordStore<Purchase> for Faulty<dyn PurchaseStore> {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        match self.faults.take(Call::Insert) {
            Some(Fault::PartialInsert) => {
                let every_second = batch.iter().step_by(2).cloned().collect();
                let applied_outcomes = self.port.apply(every_second).await?;
                let outcomes = applied_outcomes
                    .into_iter()
                    .flat_map(|outcome| [outcome, InsertOutcome::Unknown(skipped_error())]);
                Ok(outcomes.take(batch.len()).collect())
            }
            Some(Fault::Reject(reason)) => {
                let all_but_first = batch.iter().skip(1).cloned().collect();
                let applied_outcomes = self.port.apply(all_but_first).await?;
                let first_outcome = std::iter::once(InsertOutcome::Rejected(reason));
                Ok(first_outcome
                    .chain(applied_outcomes)
                    .take(batch.len())
                    .collect())
            }
            fault => {
                let port = Arc::clone(&self.port);
                Self::detachable(fault, async move { port.apply(batch).await }).await
            }
        }
    }

    async fn check(&self) -> Result<()> {
        self.call(Call::Check, self.port.check()).await
    }
}

faulty!(PurchaseQuery {
    Query: page(selector: &Selector, request: &PageRequest) -> Page;
    Query: summary(selector: &Selector) -> Summary;
    Query: totals(selector: &Selector, request: &TotalsRequest) -> Vec<Bucket>;
    Query: look_up(id: &PurchaseId) -> Lookup;
    Query: wait_for(id: &PurchaseId, timeout: Duration) -> bool;
    Query: scan_batch(after: Option<&Cursor>) -> ScanBatch;
    Check: check_reads() -> ();
});

/// A fault of an append or of a put can make the call later. The sources of the log have no faults:
/// [`Faults::source`] wraps one.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Log for Faulty<dyn Log> {
    async fn append(&self, record: LogRecord) -> Result<()> {
        let port = Arc::clone(&self.port);
        let append = async move { port.append(record).await };
        Self::detachable(self.faults.take(Call::Append), append).await
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        self.port.source(group)
    }

    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        self.call(Call::Query, self.port.scan(start, end)).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.call(Call::Query, self.port.positions(group)).await
    }

    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let port = Arc::clone(&self.port);
        let dead_letters = dead_letters.to_vec();
        let put = async move { port.put_dead_letters(&dead_letters).await };
        Self::detachable(self.faults.take(Call::PutDeadLetters), put).await
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.call(Call::Query, self.port.scan_dead_letters()).await
    }

    /// A resolution has no fault of its own.
    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.port
            .resolve(dead_letters, record_type, resolution)
            .await
    }

    async fn check(&self) -> Result<()> {
        self.call(Call::Check, self.port.check()).await
    }

    fn info(&self) -> LogInfo<'_> {
        self.port.info()
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        self.call(Call::Query, self.port.find(index, offset)).await
    }

    async fn contains_dead_letter(
        &self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Result<bool> {
        let contains = self.port.contains_dead_letter(record, partition);
        self.call(Call::Query, contains).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        let page = self.port.dead_letters(filter, limit);
        self.call(Call::Query, page).await
    }
}

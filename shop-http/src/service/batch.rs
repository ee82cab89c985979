//! Batches of purchases.

use shop_core::ports::IdSource;
use shop_core::{
    Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, PublishedPurchase, PurchaseId, RequestContext,
    Result,
};
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::response::{HttpError, HttpResult};
use crate::service::purchases::Purchases;

/// The number of batches that publish concurrently. With few purchases each, they leave room in the log's queue to
/// single purchases.
pub(super) const PUBLISHING: usize = 4;
/// The result of one purchase of a batch.
pub(crate) type BatchResult = HttpResult<PublishedPurchase>;

/// A purchase of a batch, with its id if that is not made of its key, which then is the text of the id.
pub(crate) type InBatch = (NewPurchase, Option<PurchaseId>);

impl Purchases {
    /// Gives each purchase its id and publishes them together, if they can begin before `deadline`. Returns one result
    /// per purchase.
    pub(crate) async fn buy_many(
        &self,
        new: Vec<InBatch>,
        context: Option<&RequestContext>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        let _turn = match self.turn(deadline).await {
            Ok(turn) => turn,
            Err(error) => return new.into_iter().map(|new| Err(self.not_begun(new, &error))).collect(),
        };
        let (now, mut keys) = (self.clock.now(), Vec::with_capacity(new.len()));
        let with_id = |(new, id): InBatch| {
            let key = new.key.clone();
            let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
            purchase.id = id.unwrap_or(purchase.id);
            purchase.context = context.map(|context| Box::new(context.clone()));
            let source = if key.is_some() { IdSource::Given } else { IdSource::Generated };
            keys.push((key, purchase.id));
            (purchase, source)
        };
        let purchases = new.into_iter().map(with_id).collect();
        let published = self.sink.publish_once_many(purchases).await;
        let result = |(published, (key, id)): (Result<_>, (Option<_>, PurchaseId))| {
            published.map_err(|error| self.not_written(error, key.unwrap_or_else(|| key_of(&id))))
        };
        published.into_iter().zip(keys).map(result).collect()
    }

    async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        let late = || {
            let error = Error::new(ErrorKind::Overloaded, "other batches were published for too long");
            error.with_outcome(Outcome::NotApplied)
        };
        if Instant::now() >= deadline {
            return Err(late());
        }
        let turn = tokio::time::timeout_at(deadline, self.batches.acquire()).await;
        // The semaphore is never closed.
        turn.ok().and_then(Result::ok).ok_or_else(late)
    }

    /// The failure of a purchase that was not published. Its key is that of the next attempt.
    fn not_begun(&self, (new, _): InBatch, error: &Error) -> HttpError {
        let key = new.key.unwrap_or_else(|| self.clock.fresh_id().into());
        self.not_written(error.clone(), key)
    }
}

/// The key to repeat a purchase with that had none.
fn key_of(id: &PurchaseId) -> IdempotencyKey {
    id.as_uuid().copied().unwrap_or_default().into()
}

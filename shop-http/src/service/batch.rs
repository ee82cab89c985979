//! Batches of purchases.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use shop_core::ports::Receipt;
use shop_core::{
    Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, Purchase, RequestContext, Result, Timestamp,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::options::HttpOptions;
use crate::response::Failure;
use crate::service::bounded::within;
use crate::service::idempotency::{Lookup, other_content};
use crate::service::lookup::{MAX_CONCURRENT, is_first_attempt};
use crate::service::purchases::Purchases;

/// The number of batches that publish concurrently. With few purchases each, they leave room in the log's queue to
/// single purchases.
const PUBLISHING: usize = 4;
/// The share of concurrent writes that may be batches: one of so many.
const SHARE: usize = 8;

/// Room for batches. They wait for each other, and never occupy all of what single purchases need.
#[derive(Debug)]
pub(crate) struct BatchPools {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    publishing: Semaphore,
}

impl BatchPools {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self {
            requests: Arc::new(Semaphore::new((options.max_requests / SHARE).max(1))),
            bytes: Arc::new(Semaphore::new(options.max_batches_bytes.min(Semaphore::MAX_PERMITS))),
            publishing: Semaphore::const_new(PUBLISHING),
        }
    }

    /// The place of a request.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = Arc::clone(&self.requests).try_acquire_owned();
        place.map_err(|_taken| Failure::Overloaded { writes: true })
    }

    /// Room for this many bytes.
    ///
    /// # Errors
    /// When all batches together would be too large.
    pub(crate) fn hold(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Failure> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let held = Arc::clone(&self.bytes).try_acquire_many_owned(bytes);
        held.map_err(|_taken| Failure::Overloaded { writes: true })
    }
}

/// The result of one purchase of a batch.
pub(crate) type BatchResult = Result<InBatch, Failure>;

/// A purchase of a batch that is acknowledged.
#[derive(Debug)]
pub(crate) struct InBatch {
    pub(crate) receipt: Receipt,
    pub(crate) timestamp: Timestamp,
    /// Whether it was acknowledged before.
    pub(crate) is_replayed: bool,
}

/// A purchase that is about to be published, with its place in the batch.
struct Prepared {
    index: usize,
    purchase: Purchase,
    key: Option<IdempotencyKey>,
    /// Whether the key was not known before.
    is_first: bool,
    lookup: StoreNeed,
}

/// Why a purchase is looked up in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreNeed {
    /// It is not.
    None,
    /// It may be stored. If not, it is published.
    MayBeStored,
    /// Another purchase has the key: only the store can decide.
    Contested,
}

impl Purchases {
    /// Gives each purchase its id and publishes them together, if they can begin before `deadline`. Returns one result
    /// per purchase.
    pub(crate) async fn buy_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<&RequestContext>,
        deadline: Instant,
    ) -> Vec<BatchResult> {
        let mut results: Vec<Option<BatchResult>> = Vec::new();
        results.resize_with(new.len(), || None);
        let _turn = match self.turn(deadline).await {
            Ok(turn) => turn,
            Err(error) => return new.into_iter().map(|new| Err(self.not_begun(new, &error))).collect(),
        };
        let prepared = self.prepare(new, context, &mut results);
        let prepared = self.without_stored(prepared, &mut results).await;
        // The sink takes a slice.
        let (mut purchases, mut rest) =
            (Vec::with_capacity(prepared.len()), Vec::with_capacity(prepared.len()));
        for Prepared { index, purchase, key, is_first, .. } in prepared {
            purchases.push(purchase);
            rest.push((index, key, is_first));
        }
        let published = self.publish_many(&purchases).await;
        self.remember(&purchases, &rest, &published);
        for ((purchase, (index, key, _)), published) in purchases.into_iter().zip(rest).zip(published) {
            results[index] = Some(match published {
                Ok(receipt) => Ok(InBatch { receipt, timestamp: purchase.timestamp, is_replayed: false }),
                Err(error) => Err(self.not_written(error, key.unwrap_or_else(|| key_of(&purchase)))),
            });
        }
        results.into_iter().flatten().collect()
    }

    async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        let late = || {
            let error = Error::new(ErrorKind::Overloaded, "other batches were published for too long");
            error.with_outcome(Outcome::NotApplied)
        };
        if Instant::now() >= deadline {
            return Err(late());
        }
        let turn = tokio::time::timeout_at(deadline, self.batches.publishing.acquire()).await;
        // The semaphore is never closed.
        turn.ok().and_then(Result::ok).ok_or_else(late)
    }

    /// The failure of a purchase that was not published. Its key is that of the next attempt.
    fn not_begun(&self, new: NewPurchase, error: &Error) -> Failure {
        let key = new.key.unwrap_or_else(|| self.clock.fresh_id().into());
        self.not_written(error.clone(), key)
    }

    /// Assigns the ids. The results of purchases whose outcome is known without the store are set.
    fn prepare(
        &self,
        new: Vec<NewPurchase>,
        context: Option<&RequestContext>,
        results: &mut [Option<BatchResult>],
    ) -> Vec<Prepared> {
        let (now, mut prepared) = (self.clock.now(), Vec::with_capacity(new.len()));
        for (index, new) in new.into_iter().enumerate() {
            let key = new.key.clone();
            let mut purchase = new.into_purchase(now, || self.clock.fresh_id());
            purchase.context = context.map(|context| Box::new(context.clone()));
            let is_first_attempt = key.is_none() || is_first_attempt(&purchase.id, now);
            let (Some(key), Some(known)) = (&key, &self.known_keys) else {
                let lookup = if is_first_attempt { StoreNeed::None } else { StoreNeed::MayBeStored };
                prepared.push(Prepared { index, purchase, key, is_first: false, lookup });
                continue;
            };
            let key = key.clone();
            let (is_first, lookup) = match known.check_or_insert(&purchase) {
                Ok(Lookup::First) if is_first_attempt => (true, StoreNeed::None),
                Ok(Lookup::First) => (true, StoreNeed::MayBeStored),
                Ok(Lookup::Again(mut first)) => {
                    first.context = purchase.context;
                    purchase = first;
                    (false, StoreNeed::MayBeStored)
                }
                Ok(Lookup::Contested) => (false, StoreNeed::Contested),
                Ok(Lookup::Acknowledged(Purchase { timestamp, .. }, receipt)) => {
                    results[index] = Some(Ok(InBatch { receipt, timestamp, is_replayed: true }));
                    continue;
                }
                Err(error) => {
                    results[index] = Some(Err(self.not_written(error, key)));
                    continue;
                }
            };
            prepared.push(Prepared { index, purchase, key: Some(key), is_first, lookup });
        }
        prepared
    }

    /// Looks up the ids that may be stored, and sets the results of those that are. Returns the others.
    async fn without_stored(
        &self,
        prepared: Vec<Prepared>,
        results: &mut [Option<BatchResult>],
    ) -> Vec<Prepared> {
        if prepared.iter().all(|prepared| prepared.lookup == StoreNeed::None) {
            return prepared;
        }
        let looked_up = stream::iter(prepared).map(|prepared| async move {
            let stored = match (prepared.lookup, &self.known_keys) {
                (StoreNeed::None, _) => None,
                (_, Some(known)) => self.look_up(known, &prepared.purchase).await,
                (_, None) => self.lookup.stored(&*self.query, &prepared.purchase).await,
            };
            (prepared, stored)
        });
        let looked_up: Vec<_> = looked_up.buffered(MAX_CONCURRENT).collect().await;
        let mut left = Vec::with_capacity(looked_up.len());
        for (prepared, stored) in looked_up {
            let same = match stored {
                Some(stored) => self.if_same(&prepared.purchase, stored).map(|known| InBatch {
                    timestamp: known.purchase.timestamp,
                    receipt: known.receipt,
                    is_replayed: true,
                }),
                None if prepared.lookup == StoreNeed::Contested => Err(other_content()),
                None => {
                    left.push(prepared);
                    continue;
                }
            };
            let Prepared { index, purchase, key, .. } = prepared;
            results[index] =
                Some(same.map_err(|error| self.not_written(error, key.unwrap_or_else(|| key_of(&purchase)))));
        }
        left
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if purchases.is_empty() {
            return Vec::new();
        }
        let begun = Instant::now();
        // The sink may wait for room as long as for the publish itself.
        let timeout = self.options.publish_timeout.saturating_mul(2);
        let published = async { Ok(self.sink.publish_many(purchases).await) };
        let failed = match within(timeout, published).await {
            Ok(results) if results.len() == purchases.len() => Ok(results),
            Ok(_) => Err(Error::new(ErrorKind::Internal, "a sink has miscounted its results")),
            Err(error) => Err(error),
        };
        let results =
            failed.unwrap_or_else(|error| purchases.iter().map(|_| Err(error.clone())).collect::<Vec<_>>());
        self.publishing.ended_together(begun, &results);
        results
    }

    fn remember(
        &self,
        purchases: &[Purchase],
        rest: &[(usize, Option<IdempotencyKey>, bool)],
        published: &[Result<Receipt>],
    ) {
        let acknowledged = || {
            let all = purchases.iter().zip(rest).zip(published);
            all.filter_map(|((purchase, (_, key, _)), result)| {
                Some((purchase, result.as_ref().ok()?, key.is_some()))
            })
        };
        if let Some(recent) = &self.recent {
            recent.remember_all(acknowledged().map(|(purchase, receipt, _)| (purchase, receipt)));
        }
        let Some(known) = &self.known_keys else { return };
        known.acknowledged_all(acknowledged());
        for ((purchase, (_, _, is_first)), result) in purchases.iter().zip(rest).zip(published) {
            // An earlier attempt may still be in flight.
            if *is_first && result.as_ref().is_err_and(|error| error.outcome() == Outcome::NotApplied) {
                known.forget(&purchase.id);
            }
        }
    }
}

/// The key to repeat a purchase with that had none: a key that is a UUID is the id.
fn key_of(purchase: &Purchase) -> IdempotencyKey {
    purchase.id.as_uuid().copied().unwrap_or_default().into()
}

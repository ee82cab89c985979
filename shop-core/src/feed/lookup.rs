//! Purchases in the log, and the queue in which they wait until the store has been asked for them.
//!
//! Each partition has a queue of its own, in the order of the log, and at most one group of purchases in lookup. A
//! lookup that fails or takes long therefore delays its own partition and no other.
//!
//! ```text
//! push ──▶ queued ──start_lookups──▶ in lookup ──next──▶ the caller, which may requeue some
//!          (not yet ingested)        (store.get)
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use super::cursor::next_offset;
use super::{FeedInner, MAX_LOOKUPS};
use crate::Purchase;
use crate::log::{Batch, Offsets};
use crate::record::decode;

/// The timeout of one request of a lookup.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause between two requests of a lookup. Each further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A purchase in the log, and the result of its lookup in the store.
#[derive(Debug)]
pub(super) struct LoggedPurchase {
    pub(super) partition: u32,
    pub(super) offset: u64,
    /// The purchase as the log contains it.
    pub(super) purchase: Purchase,
    /// The purchase as the store returned it: `None` if it is not stored, or stored with other content.
    stored: OnceCell<Option<Purchase>>,
}

impl LoggedPurchase {
    /// Decodes the purchases in `batch`. Skips records that do not decode, which ingest makes dead letters.
    pub(super) fn decode_batch(batch: &Batch) -> impl Iterator<Item = Arc<Self>> {
        let Batch { partition, records } = batch;
        records.iter().filter_map(move |record| {
            Some(Arc::new(Self {
                partition: partition.index,
                offset: record.offset,
                purchase: decode(record, partition).ok()?.without_context(),
                stored: OnceCell::new(),
            }))
        })
    }

    /// Looks up the purchase in the store, once for all concurrent callers. Ingest must have passed the record.
    pub(super) async fn look_up(&self, feed: &FeedInner) {
        self.stored
            .get_or_init(|| self.request_until_answered(feed))
            .await;
    }

    /// Requests the purchase from the store until it answers, because an error says nothing about the purchase.
    ///
    /// Returns `None` if the purchase is not stored with the same content.
    async fn request_until_answered(&self, feed: &FeedInner) -> Option<Purchase> {
        let mut pause = MIN_PAUSE;
        loop {
            // The semaphore is never closed.
            let permit = feed.lookup_permits.acquire().await;
            let response = timeout(REQUEST_TIMEOUT, feed.query.get(&self.purchase.id)).await;
            drop(permit);

            match response {
                // Ingest makes a record with the same id and other content a dead letter.
                Ok(Ok(stored)) => {
                    return stored.filter(|stored| stored.same_content(&self.purchase));
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a look-up of the feed failed, retrying");
                }
                Err(_elapsed) => {
                    tracing::debug!("a look-up of the feed took too long, retrying");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Returns whether the store has answered the lookup of this purchase.
    pub(super) fn is_looked_up(&self) -> bool {
        self.stored.initialized()
    }

    /// Returns the purchase as the store contains it, or `None` if it is not visible or was not looked up.
    pub(super) fn visible(&self) -> Option<&Purchase> {
        self.stored.get()?.as_ref()
    }
}

/// The purchases of all partitions that wait for ingest, and then for their lookups.
pub(super) struct LookupQueue {
    feed: Arc<FeedInner>,
    partitions: BTreeMap<u32, PartitionQueue>,
    /// The running lookups, at most one group of purchases for each partition.
    lookups: FuturesUnordered<BoxFuture<'static, Vec<Arc<LoggedPurchase>>>>,
}

/// The queue of one partition.
#[derive(Default)]
struct PartitionQueue {
    /// The queued purchases in the order of their offsets.
    queued: VecDeque<Arc<LoggedPurchase>>,
    /// The offset of the first purchase in lookup, if there is a lookup.
    lookup_offset: Option<u64>,
}

impl LookupQueue {
    /// Creates an empty queue that looks up purchases in the store of `feed`.
    pub(super) fn new(feed: &Arc<FeedInner>) -> Self {
        Self {
            feed: Arc::clone(feed),
            partitions: BTreeMap::new(),
            lookups: FuturesUnordered::new(),
        }
    }

    /// Adds `purchases` behind all others of their partition.
    pub(super) fn push(&mut self, purchases: impl Iterator<Item = Arc<LoggedPurchase>>) {
        for logged in purchases {
            let partition = self.partitions.entry(logged.partition).or_default();
            partition.queued.push_back(logged);
        }
    }

    /// Puts `purchases` that [`next`](Self::next) has returned back before all others of their partition.
    pub(super) fn requeue(&mut self, purchases: Vec<Arc<LoggedPurchase>>) {
        for logged in purchases.into_iter().rev() {
            let partition = self.partitions.entry(logged.partition).or_default();
            partition.queued.push_front(logged);
        }
    }

    /// Returns the number of queued purchases of `partition`, without those in lookup.
    pub(super) fn queued_in(&self, partition: u32) -> usize {
        let Some(partition) = self.partitions.get(&partition) else {
            return 0;
        };
        partition.queued.len()
    }

    /// Returns the number of queued purchases of all partitions, without those in lookup.
    pub(super) fn queued(&self) -> usize {
        self.partitions
            .values()
            .map(|partition| partition.queued.len())
            .sum()
    }

    /// Returns the offset of the first purchase of `partition`, in lookup or queued.
    pub(super) fn first_offset(&self, partition: u32) -> Option<u64> {
        let partition = self.partitions.get(&partition)?;
        partition
            .lookup_offset
            .or_else(|| Some(partition.queued.front()?.offset))
    }

    /// Starts a lookup in each partition that has none, of queued purchases before `ingest_positions`.
    ///
    /// A purchase that is not selected leaves the queue with the others, but is not requested from the store.
    pub(super) fn start_lookups(
        &mut self,
        ingest_positions: &Offsets,
        is_selected: impl Fn(&Purchase) -> bool,
    ) {
        for (
            partition,
            PartitionQueue {
                queued,
                lookup_offset,
            },
        ) in &mut self.partitions
        {
            if lookup_offset.is_some() {
                continue;
            }

            let ingest_position = next_offset(ingest_positions, *partition);
            let ingested_count = queued
                .iter()
                .take(MAX_LOOKUPS)
                .take_while(|logged| logged.offset < ingest_position)
                .count();
            let ingested: Vec<_> = queued.drain(..ingested_count).collect();
            let Some(first) = ingested.first() else {
                continue;
            };
            *lookup_offset = Some(first.offset);

            let mut selected = ingested.clone();
            selected.retain(|logged| is_selected(&logged.purchase));
            let feed = Arc::clone(&self.feed);
            let lookup = async move {
                join_all(selected.iter().map(|logged| logged.look_up(&feed))).await;
                ingested
            };
            self.lookups.push(lookup.boxed());
        }
    }

    /// Waits for the next lookup to end, and returns its purchases, which are consecutive in one partition.
    ///
    /// Returns `None` if no lookup is running.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Vec<Arc<LoggedPurchase>>> {
        let purchases = self.lookups.next().await?;
        let partition = self.partitions.get_mut(&purchases.first()?.partition)?;
        partition.lookup_offset = None;
        Some(purchases)
    }
}

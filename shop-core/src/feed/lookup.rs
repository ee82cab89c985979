//! Purchases in the log, and the queue in which they wait until they are looked up in the store.
//!
//! There is one queue per partition, in the order of the log, with at most one group of purchases
//! in lookup. A lookup that fails or takes long therefore delays its own partition and no other.
//!
//! ```text
//! push ──▶ queued ──start_lookups──▶ in lookup ──next_group──▶ the caller, which may requeue some
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
use crate::ports::PurchaseQueryExt as _;
use crate::record::RecordDecoders;

/// The timeout of one request of a lookup.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause between two requests of a lookup. Each further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two requests of a lookup.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A purchase in the log, and the result of its lookup in the store.
///
/// A purchase is *visible* if the store contains it with the content of the log. The result of the
/// lookup is final only after ingest processed the record of the purchase, because ingest writes
/// the purchase to the store.
#[derive(Debug)]
pub(super) struct LoggedPurchase {
    pub(super) partition: u32,
    pub(super) offset: u64,
    /// The purchase as the log contains it.
    pub(super) purchase: Purchase,
    /// The result of the lookup, once there is one: the purchase as the store contains it, or
    /// `None` if it is not visible.
    lookup_result: OnceCell<Option<Purchase>>,
}

impl LoggedPurchase {
    /// Decodes the purchases in `batch` by `decoders`.
    ///
    /// Skips records that do not decode: ingest makes them dead letters, so they never become
    /// visible.
    pub(super) fn decode_batch(
        batch: &Batch,
        decoders: &RecordDecoders,
    ) -> impl Iterator<Item = Arc<Self>> {
        batch.records.iter().filter_map(move |record| {
            let purchase = decoders.decode(record, &batch.partition).ok()?;
            Some(Arc::new(Self {
                partition: batch.partition.index,
                offset: record.offset,
                // A store returns purchases without their context, and the two are compared.
                purchase: purchase.without_context(),
                lookup_result: OnceCell::new(),
            }))
        })
    }

    /// Looks up the purchase in the store of `feed`, once for all concurrent callers.
    ///
    /// Call this function only after ingest processed the record of the purchase.
    pub(super) async fn look_up(&self, feed: &FeedInner) {
        self.lookup_result
            .get_or_init(|| self.request_until_answered(feed))
            .await;
    }

    /// Requests the purchase from the store of `feed` until the store answers, and returns it if it
    /// is visible.
    ///
    /// A failed request is repeated without a limit, because an error does not tell whether the
    /// purchase is visible.
    async fn request_until_answered(&self, feed: &FeedInner) -> Option<Purchase> {
        let mut pause = MIN_PAUSE;
        loop {
            // The permit is returned before the pause. The semaphore is never closed.
            let permit = feed.lookup_permits.acquire().await;
            let response = timeout(REQUEST_TIMEOUT, feed.query.get(&self.purchase.id)).await;
            drop(permit);

            match response {
                // The log may contain two records with the same id and different content. The store
                // contains one of them, and ingest makes the other one a dead letter.
                Ok(Ok(stored)) => {
                    return stored.filter(|stored| stored.same_content(&self.purchase));
                }
                Ok(Err(error)) => tracing::debug!(%error, "a look-up of the feed failed, retrying"),
                Err(_elapsed) => tracing::debug!("a look-up of the feed took too long, retrying"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Returns the number of purchases for which this purchase counts in the limits of the feed: one,
    /// and one more for each KiB of its [unknown members](crate::Details::unknown_members).
    ///
    /// So the limits of the feed also bound its memory.
    pub(super) fn weight(&self) -> usize {
        1 + self.purchase.details.unknown_bytes() / 1_024
    }

    /// Returns whether the store answered the lookup of this purchase.
    pub(super) fn is_looked_up(&self) -> bool {
        self.lookup_result.initialized()
    }

    /// Returns the purchase as the store contains it, or `None` if it is not visible or was not
    /// looked up.
    pub(super) fn visible_purchase(&self) -> Option<&Purchase> {
        self.lookup_result.get()?.as_ref()
    }
}

/// The purchases of all partitions that wait for ingest, and then for their lookups.
pub(super) struct LookupQueue {
    feed: Arc<FeedInner>,
    partitions: BTreeMap<u32, PartitionQueue>,
    /// The running lookups. Each returns its group of purchases, which are consecutive in one
    /// partition.
    running_lookups: FuturesUnordered<BoxFuture<'static, Vec<Arc<LoggedPurchase>>>>,
}

/// The queue of one partition.
#[derive(Default)]
struct PartitionQueue {
    /// The queued purchases in the order of their offsets, without the group that is in lookup.
    queued: VecDeque<Arc<LoggedPurchase>>,
    /// The sum of the weights of the queued purchases.
    queued_weight: usize,
    /// The first offset of the group that is in lookup. `None` if no lookup of this partition is
    /// running.
    running_lookup_from: Option<u64>,
}

impl PartitionQueue {
    /// Removes the purchases before `ingest_position` from the queue, as the group that is in lookup
    /// from now on. The group is empty if ingest processed none of the queued purchases.
    ///
    /// No lookup of this partition may be running.
    fn begin_lookup(&mut self, ingest_position: u64) -> Vec<Arc<LoggedPurchase>> {
        // A larger group would wait for permits of the feed, and delay the delivery of its first
        // purchases.
        let group_size = self
            .queued
            .iter()
            .take(MAX_LOOKUPS)
            .take_while(|logged| logged.offset < ingest_position)
            .count();
        let group: Vec<_> = self.queued.drain(..group_size).collect();

        let group_weight: usize = group.iter().map(|logged| logged.weight()).sum();
        self.queued_weight -= group_weight;
        self.running_lookup_from = group.first().map(|first| first.offset);
        group
    }
}

/// Looks up the `selected_purchases` of `group` in the store of `feed`, and returns the whole group.
///
/// Each purchase keeps its own result. The other purchases of the group stay without a result.
async fn look_up_selected(
    feed: Arc<FeedInner>,
    group: Vec<Arc<LoggedPurchase>>,
    selected_purchases: Vec<Arc<LoggedPurchase>>,
) -> Vec<Arc<LoggedPurchase>> {
    let lookups = selected_purchases
        .iter()
        .map(|logged| logged.look_up(&feed));
    join_all(lookups).await;
    group
}

impl LookupQueue {
    /// Creates an empty queue that looks up purchases in the store of `feed`.
    pub(super) fn new(feed: &Arc<FeedInner>) -> Self {
        Self {
            feed: Arc::clone(feed),
            partitions: BTreeMap::new(),
            running_lookups: FuturesUnordered::new(),
        }
    }

    /// Adds each of `purchases` behind all others of its partition.
    pub(super) fn push(&mut self, purchases: impl Iterator<Item = Arc<LoggedPurchase>>) {
        for purchase in purchases {
            let partition = self.partitions.entry(purchase.partition).or_default();
            partition.queued_weight += purchase.weight();
            partition.queued.push_back(purchase);
        }
    }

    /// Puts back the purchases that [`next_group`](Self::next_group) returned, before all others of
    /// their partition.
    pub(super) fn requeue(&mut self, purchases: Vec<Arc<LoggedPurchase>>) {
        // Each purchase goes to the front, so the last one goes first.
        for purchase in purchases.into_iter().rev() {
            let partition = self.partitions.entry(purchase.partition).or_default();
            partition.queued_weight += purchase.weight();
            partition.queued.push_front(purchase);
        }
    }

    /// Returns the weight of the queued purchases of `partition`, without those in lookup.
    pub(super) fn queued_weight_of(&self, partition: u32) -> usize {
        self.partitions
            .get(&partition)
            .map_or(0, |partition| partition.queued_weight)
    }

    /// Returns the weight of the queued purchases of all partitions, without those in lookup.
    pub(super) fn total_queued_weight(&self) -> usize {
        self.partitions
            .values()
            .map(|partition| partition.queued_weight)
            .sum()
    }

    /// Returns the offset of the first purchase of `partition` that is in lookup or queued, if
    /// there is one.
    pub(super) fn first_offset(&self, partition: u32) -> Option<u64> {
        let partition = self.partitions.get(&partition)?;
        // Purchases in lookup precede the queued ones.
        partition
            .running_lookup_from
            .or_else(|| Some(partition.queued.front()?.offset))
    }

    /// Starts to look up the queued purchases that ingest processed, in each partition without a
    /// running lookup.
    ///
    /// Ingest processed the records before its next offset in `ingest_positions`. These purchases
    /// leave the queue as one group. Only the purchases for which `is_selected` is true are
    /// requested from the store, because no subscriber waits for the others.
    pub(super) fn start_lookups(
        &mut self,
        ingest_positions: &Offsets,
        is_selected: impl Fn(&Purchase) -> bool,
    ) {
        for (partition_index, partition) in &mut self.partitions {
            if partition.running_lookup_from.is_some() {
                continue;
            }
            let ingest_position = next_offset(ingest_positions, *partition_index);
            let group = partition.begin_lookup(ingest_position);
            if group.is_empty() {
                continue;
            }

            let mut selected_purchases = group.clone();
            selected_purchases.retain(|logged| is_selected(&logged.purchase));
            let lookup = look_up_selected(Arc::clone(&self.feed), group, selected_purchases);
            self.running_lookups.push(lookup.boxed());
        }
    }

    /// Waits for the end of a lookup, and returns its group of purchases, which are consecutive in
    /// one partition.
    ///
    /// Returns `None` if no lookup is running.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next_group(&mut self) -> Option<Vec<Arc<LoggedPurchase>>> {
        let group = self.running_lookups.next().await?;
        // A group is never empty, and its partition stays in the map.
        let partition = self.partitions.get_mut(&group.first()?.partition)?;
        partition.running_lookup_from = None;
        Some(group)
    }
}

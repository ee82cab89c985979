//! Purchases in the log, which are looked up, each partition by itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

use super::{LOOK_UPS, Shared};
use crate::Purchase;
use crate::log::{Batch, Offsets};
use crate::record::decode;

/// The timeout of a look-up.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pauses between the retries of a look-up.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A purchase in the log.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) purchase: Purchase,
    /// The purchase as the store has it, if that is the same.
    found: OnceCell<Option<Purchase>>,
}

impl Entry {
    /// The purchases in `batch`. Records that are none become dead letters.
    pub(super) fn all_of(batch: &Batch) -> impl Iterator<Item = Self> {
        let Batch { partition, records } = batch;
        records.iter().filter_map(move |record| {
            Some(Self {
                partition: partition.index,
                offset: record.offset,
                purchase: decode(record, partition).ok()?.without_context(),
                found: OnceCell::new(),
            })
        })
    }

    /// Looks the purchase up once for all that wait for it, and retries without end: an error is not an outcome.
    /// Ingest must have passed the record.
    pub(super) async fn look_up(&self, shared: &Shared) {
        let retried = || async {
            let mut pause = MIN_PAUSE;
            loop {
                // The semaphore is never closed.
                let room = shared.looking_up.acquire().await;
                let stored = timeout(TIMEOUT, shared.query.get(&self.purchase.id)).await;
                drop(room);
                match stored {
                    // A record with the same id and other content becomes a dead letter.
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
        };
        self.found.get_or_init(retried).await;
    }

    /// Whether it was looked up.
    pub(super) fn is_looked_up(&self) -> bool {
        self.found.initialized()
    }

    /// The purchase as the store has it; `None` if the store does not have it, or if it was not looked up.
    pub(super) fn visible(&self) -> Option<&Purchase> {
        self.found.get()?.as_ref()
    }
}

/// Entries in the order of the log, until ingest has passed them and they are looked up. A look-up that fails or takes
/// long delays its partition alone.
pub(super) struct Waiting {
    shared: Arc<Shared>,
    partitions: BTreeMap<u32, Line>,
    running: FuturesUnordered<BoxFuture<'static, Vec<Arc<Entry>>>>,
}

/// The entries of a partition.
#[derive(Default)]
struct Line {
    entries: VecDeque<Arc<Entry>>,
    /// The first one that is being looked up.
    running: Option<u64>,
}

impl Waiting {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            partitions: BTreeMap::new(),
            running: FuturesUnordered::new(),
        }
    }

    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.partitions
            .entry(entry.partition)
            .or_default()
            .entries
            .push_back(entry);
    }

    /// Puts `entries`, which [`next`](Self::next) has returned, before all others of their partition.
    pub(super) fn put_back(&mut self, entries: Vec<Arc<Entry>>) {
        for entry in entries.into_iter().rev() {
            self.partitions
                .entry(entry.partition)
                .or_default()
                .entries
                .push_front(entry);
        }
    }

    /// The number of entries of `partition` that are not being looked up.
    pub(super) fn count_of(&self, partition: u32) -> usize {
        self.partitions
            .get(&partition)
            .map_or(0, |line| line.entries.len())
    }

    /// The number of all entries that are not being looked up.
    pub(super) fn count(&self) -> usize {
        self.partitions
            .values()
            .map(|line| line.entries.len())
            .sum()
    }

    /// The offset of the first entry of `partition`.
    pub(super) fn first(&self, partition: u32) -> Option<u64> {
        let line = self.partitions.get(&partition)?;
        line.running.or_else(|| Some(line.entries.front()?.offset))
    }

    /// Starts to look up entries before `positions`, without those that nothing selects.
    pub(super) fn start(&mut self, positions: &Offsets, is_selected: impl Fn(&Entry) -> bool) {
        for (partition, Line { entries, running }) in &mut self.partitions {
            let position = positions.get(partition).copied().unwrap_or_default();
            let count = entries
                .iter()
                .take(LOOK_UPS)
                .take_while(|entry| entry.offset < position)
                .count();
            if count == 0 || running.is_some() {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            let entries: Vec<_> = entries.drain(..count).collect();
            *running = entries.first().map(|first| first.offset);
            let mut selected = entries.clone();
            selected.retain(|entry| is_selected(entry));
            let look_up = async move {
                join_all(selected.iter().map(|entry| entry.look_up(&shared))).await;
                entries
            };
            self.running.push(look_up.boxed());
        }
    }

    /// The next entries of one partition; `None` when none are being looked up.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Vec<Arc<Entry>>> {
        let entries = self.running.next().await?;
        let line = self.partitions.get_mut(&entries.first()?.partition)?;
        line.running = None;
        Some(entries)
    }
}

//! Purchases in the log that are not visible yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::hub::Entry;
use crate::log::Offsets;
use crate::ports::PurchaseQuery;
use crate::{Purchase, PurchaseId};

/// How many are waited for at a time.
const MAX_PENDING: usize = 256;
/// The number of concurrent queries.
const CONCURRENT_QUERIES: usize = 16;
/// The pause between two queries for a purchase: half of the time for which it has been waited for, within these.
const MIN_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// So many purchases are recognized that were yielded before: the log may have one twice.
const REMEMBERED: usize = 256;

#[derive(Debug)]
struct Waiting {
    entry: Arc<Entry>,
    since: Instant,
    /// Whether it is skipped if it is visible already.
    is_old: bool,
}

/// A purchase that has become visible, as the store has it.
#[derive(Debug)]
pub(super) struct Visible {
    pub(super) entry: Arc<Entry>,
    pub(super) purchase: Purchase,
}

/// What a subscription waits for, in the order of the log.
#[derive(Debug)]
pub(super) struct Pending {
    waiting: VecDeque<Waiting>,
    /// The newest visible offset of each partition.
    visible: BTreeMap<u32, u64>,
    yielded: VecDeque<PurchaseId>,
    next_query: Instant,
    skip_after: Duration,
}

impl Pending {
    pub(super) fn new(skip_after: Duration) -> Self {
        let (waiting, visible, yielded) = Default::default();
        Self { waiting, visible, yielded, next_query: Instant::now(), skip_after }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_PENDING
    }

    /// When to query next.
    pub(super) const fn next_query(&self) -> Instant {
        self.next_query
    }

    /// Waits for `entry`.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        let since = Instant::now();
        self.next_query = self.next_query.min(since);
        self.waiting.push_back(Waiting { entry, since, is_old: false });
    }

    /// Waits for the newest of `entries`, except for those that are visible at the next query.
    pub(super) fn push_old(&mut self, entries: Vec<Arc<Entry>>) {
        let surplus = entries.len().saturating_sub(MAX_PENDING);
        let since = Instant::now();
        let old = entries.into_iter().skip(surplus);
        self.waiting.extend(old.map(|entry| Waiting { entry, since, is_old: true }));
    }

    /// `read` without what is waited for and what is `unyielded`: where to continue after a restart.
    pub(super) fn position<'a>(
        &'a self,
        mut read: Offsets,
        unyielded: impl Iterator<Item = &'a Arc<Entry>>,
    ) -> Offsets {
        for entry in self.waiting.iter().map(|waiting| &waiting.entry).chain(unyielded) {
            read.entry(entry.partition).and_modify(|next| *next = entry.offset.min(*next));
        }
        read
    }

    /// Queries for all, and returns those that have become visible, in the order of the log.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub(super) async fn query(&mut self, query: &dyn PurchaseQuery) -> VecDeque<Visible> {
        // Collected: a lazy stream of borrowing futures is not `Send`.
        let lookups: Vec<_> =
            self.waiting.iter().map(|waiting| query.get(&waiting.entry.purchase.id)).collect();
        let found: Vec<_> = stream::iter(lookups).buffered(CONCURRENT_QUERIES).collect().await;
        let now = Instant::now();
        let mut visible = VecDeque::new();
        for (waiting, found) in std::mem::take(&mut self.waiting).into_iter().zip(found) {
            let Waiting { entry, is_old, .. } = &waiting;
            let stored = found.unwrap_or_else(|error| {
                tracing::debug!(%error, "a purchase of the feed cannot be read");
                None
            });
            match stored {
                Some(stored) => {
                    let newest = self.visible.entry(entry.partition).or_default();
                    *newest = entry.offset.max(*newest);
                    // A record with the same id and other content becomes a dead letter.
                    if !is_old && stored.same_content(&entry.purchase) && !self.yielded.contains(&stored.id) {
                        self.yielded.push_back(stored.id);
                        visible.push_back(Visible { entry: Arc::clone(entry), purchase: stored });
                    }
                }
                None => self.waiting.push_back(Waiting { is_old: false, ..waiting }),
            }
        }
        let surplus = self.yielded.len().saturating_sub(REMEMBERED);
        drop(self.yielded.drain(..surplus));
        self.skip_dead_letters(now);
        let newest = self.waiting.back().map_or(now, |newest| newest.since);
        self.next_query = now + ((now - newest) / 2).clamp(MIN_PAUSE, MAX_PAUSE);
        visible
    }

    fn skip_dead_letters(&mut self, now: Instant) {
        let Self { waiting, visible, skip_after, .. } = self;
        waiting.retain(|Waiting { entry, since, .. }| {
            let is_passed = visible.get(&entry.partition).is_some_and(|newest| *newest > entry.offset);
            !is_passed || now.duration_since(*since) < *skip_after
        });
    }
}

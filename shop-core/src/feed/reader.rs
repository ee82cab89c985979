//! The reader: the one task of a feed that follows the log, and delivers each purchase once it is
//! visible.
//!
//! The task selects over these events, and then starts the lookups that became possible:
//!
//! | Event | Action |
//! |---|---|
//! | A batch of the log | Queue its purchases until ingest processes their records |
//! | Newer positions of ingest | Raise the offsets before which purchases are looked up |
//! | The end of a lookup | Deliver the purchases to the hub |
//! | The check of each second | End the task if no subscriber is left |
//! | The feed is closed | End the task |
//!
//! A partition whose queue is full is *paused*: its further batches are dropped, so that it cannot
//! hold up the other partitions of the stream. When half of the queue is free, the log is opened
//! again at the first dropped record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::{Instant, interval};

use super::FeedInner;
use super::cursor::{advance_offsets, log_digest, next_offset};
use super::hub::{Hub, Registration};
use super::lookup::{LoggedPurchase, LookupQueue};
use crate::log::{Batch, Offsets, ScanEnd, follow_positions};
use crate::ports::Selector;
use crate::{Error, ErrorKind, Result};

/// The interval of the checks for subscribers, and the delay of a reopening after ingest names a
/// new partition.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the log is opened again: a tail does not contain partitions that were
/// added later.
const REOPEN_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum number of records of a partition that are queued until ingest processes them.
const MIN_QUEUED: usize = 64;

/// The state of the task that reads the log for all subscribers.
pub(super) struct Reader {
    feed: Arc<FeedInner>,
    hub: Arc<Hub>,
    batches: BoxStream<'static, Result<Batch>>,
    /// The time at which `batches` was opened.
    opened_at: Instant,
    /// The next offset to read of each partition.
    read_offsets: Offsets,
    /// The newest known positions of ingest: the next offset that ingest processes in each
    /// partition.
    ingest_positions: Offsets,
    /// A stream that requests the current positions of ingest whenever it is polled.
    position_updates: BoxStream<'static, Offsets>,
    lookups: LookupQueue,
    /// The partitions whose queue is full, and whose batches are dropped until the log is opened
    /// again.
    paused_partitions: BTreeSet<u32>,
    /// The time after `opened_at` at which the log is opened again, also if no partition is paused.
    reopen_interval: Duration,
}

impl Reader {
    /// Opens the log at the positions of ingest, registers a first subscriber to `selector`, and
    /// spawns the reader.
    ///
    /// # Errors
    /// Returns the errors of the log, which reports the positions of ingest and is opened.
    pub(super) async fn start(feed: &Arc<FeedInner>, selector: &Selector) -> Result<Registration> {
        // Purchases before the positions of ingest are visible already. The feed yields only
        // purchases that become visible from now on.
        let ingest_positions = feed.positions.positions().await?;
        let tail = feed.log.scan(&ingest_positions, ScanEnd::Never).await?;

        let hub = Arc::new(Hub::new(
            log_digest(&tail),
            tail.start.clone(),
            &feed.options,
        ));
        // A reader without subscribers ends, so the first one registers before the reader runs.
        let registration = hub
            .register(selector)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a new reader of the log has ended"))?;

        let reader = Self {
            feed: Arc::clone(feed),
            hub,
            batches: tail.batches,
            opened_at: Instant::now(),
            read_offsets: tail.start,
            position_updates: follow_positions(&feed.positions, ingest_positions.clone()),
            ingest_positions,
            lookups: LookupQueue::new(feed),
            paused_partitions: BTreeSet::new(),
            reopen_interval: REOPEN_INTERVAL,
        };
        tokio::spawn(reader.run());
        Ok(registration)
    }

    /// Follows the log until the reader ends, and then ends all subscriptions.
    async fn run(mut self) {
        if let Err(error) = self.follow_log().await {
            tracing::warn!(error = %error.chain(), "the log is no longer followed, subscriptions end");
        }
        self.hub.close();
    }

    /// Handles the events of the reader until the feed is closed, no subscriber is left, or the log
    /// ends.
    ///
    /// # Errors
    /// Returns the errors of the log, which can then no longer be followed.
    async fn follow_log(&mut self) -> Result<()> {
        let feed_closed = self.feed.closed.clone();
        let mut usage_checks = interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = feed_closed.cancelled() => return Ok(()),
                batch = self.batches.try_next() => match batch? {
                    Some(batch) => self.enqueue_batch(&batch),
                    None => return Ok(()),
                },
                Some(purchases) = self.lookups.next_group() => {
                    // A subscriber that registered in the meantime may select purchases that were
                    // not looked up.
                    let undelivered = self.hub.deliver(purchases);
                    self.lookups.requeue(undelivered);
                }
                Some(positions) = self.position_updates.next(), if self.is_ahead_of_ingest() => {
                    self.update_ingest_positions(&positions);
                }
                _ = usage_checks.tick() => if self.hub.close_if_unused() {
                    return Ok(());
                },
            }

            // Each event may make these steps possible. They are cheap if there is nothing to do.
            if self.is_reopening_due() {
                self.reopen_log().await?;
            }
            self.lookups
                .start_lookups(&self.ingest_positions, |purchase| {
                    self.hub.is_selected(purchase)
                });
            self.advance_hub();
        }
    }

    /// Queues the purchases of `batch`. Pauses the partition of the batch if its queue is full
    /// afterwards.
    ///
    /// The batch of a paused partition is dropped. Its records are read again when the log is
    /// reopened, because `read_offsets` stays before them.
    fn enqueue_batch(&mut self, batch: &Batch) {
        let partition = batch.partition.index;
        let Some(last) = batch.records.last() else {
            return;
        };
        if self.paused_partitions.contains(&partition) {
            return;
        }

        let decoders = &self.feed.options.decoders;
        self.lookups
            .push(LoggedPurchase::decode_batch(batch, decoders));
        self.read_offsets.insert(partition, last.offset + 1);
        let is_queue_full = self.lookups.queued_weight_of(partition) >= self.max_queued_weight();
        if is_queue_full {
            self.paused_partitions.insert(partition);
        }
    }

    /// Returns the maximum weight of the queued purchases of one partition: an equal part of the
    /// limit of the feed.
    fn max_queued_weight(&self) -> usize {
        let partition_count = self.read_offsets.len().max(1);
        (self.feed.options.held_records / partition_count).max(MIN_QUEUED)
    }

    /// Returns whether the reader has read a record behind the known positions of ingest.
    ///
    /// If it has not, newer positions of ingest make no purchase visible, so they are not requested.
    fn is_ahead_of_ingest(&self) -> bool {
        self.read_offsets.iter().any(|(partition, read_offset)| {
            next_offset(&self.ingest_positions, *partition) < *read_offset
        })
    }

    /// Moves the known positions of ingest forward to `positions`.
    ///
    /// If ingest names a partition that the open log does not contain, the log is reopened within a
    /// second, to read this partition too.
    fn update_ingest_positions(&mut self, positions: &Offsets) {
        let has_new_partition = positions
            .keys()
            .any(|partition| !self.read_offsets.contains_key(partition));
        if has_new_partition {
            self.reopen_interval = CHECK_INTERVAL;
        }
        advance_offsets(&mut self.ingest_positions, positions);
    }

    /// Moves the delivered offset of each partition in the hub forward to the first record that may
    /// still be delivered.
    ///
    /// A record may still be delivered if it was not read, if ingest has not processed it, or if its
    /// purchase is queued or in lookup. This function is needed for records that are not purchases:
    /// no delivery moves the offset past them.
    fn advance_hub(&self) {
        let delivered_offsets = self.read_offsets.iter().map(|(partition, read_offset)| {
            let ingest_position = next_offset(&self.ingest_positions, *partition);
            // An empty queue does not limit the offset.
            let first_queued_offset = self.lookups.first_offset(*partition).unwrap_or(u64::MAX);
            let delivered_offset = ingest_position.min(*read_offset).min(first_queued_offset);
            (*partition, delivered_offset)
        });
        self.hub.advance(delivered_offsets);
    }

    /// Returns whether to open the log again: because partitions may have been added since the last
    /// time, or because the queue of a paused partition is at most half full.
    ///
    /// A reopening is expensive, so it does not happen for a few free places in a queue.
    fn is_reopening_due(&self) -> bool {
        let is_interval_over = self.opened_at.elapsed() >= self.reopen_interval;
        let has_resumable_partition = self
            .paused_partitions
            .iter()
            .any(|partition| self.can_resume(*partition));
        is_interval_over || has_resumable_partition
    }

    /// Returns whether the queue of the paused `partition` is at most half full, so that its records
    /// can be read again.
    fn can_resume(&self, partition: u32) -> bool {
        self.lookups.queued_weight_of(partition) <= self.max_queued_weight() / 2
    }

    /// Opens the log again at the next offset to read of each partition, and resumes the paused
    /// partitions whose queue is at most half full.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if the log no longer contains a record that was
    ///   not read, or was restored from a backup
    /// - Errors of the log, unchanged
    async fn reopen_log(&mut self) -> Result<()> {
        let tail = self
            .feed
            .log
            .scan(&self.read_offsets, ScanEnd::Never)
            .await?;
        // A partition whose requested record is gone starts at another offset.
        let has_lost_records = self
            .read_offsets
            .iter()
            .any(|(partition, read_offset)| tail.start.get(partition) != Some(read_offset));
        let was_restored = log_digest(&tail) != self.hub.log_digest;
        if has_lost_records || was_restored {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "records that were not read are gone",
            ));
        }

        let mut paused_partitions = std::mem::take(&mut self.paused_partitions);
        paused_partitions.retain(|partition| !self.can_resume(*partition));
        self.paused_partitions = paused_partitions;
        self.read_offsets = tail.start;
        self.batches = tail.batches;
        self.opened_at = Instant::now();
        self.reopen_interval = REOPEN_INTERVAL;
        Ok(())
    }
}

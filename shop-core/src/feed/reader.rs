//! The reader: the one task of a feed that follows the log, and delivers each purchase once it is visible.
//!
//! The task selects over these events, and then starts the lookups that have become possible:
//!
//! | Event | Action |
//! |---|---|
//! | A batch of the log | Queue its purchases until ingest has passed them |
//! | Newer positions of ingest | Raise the offsets before which purchases are looked up |
//! | The end of a lookup | Deliver the purchases to the hub |
//! | The check of each second | End the task if no subscriber is left |
//! | The feed is closed | End the task |
//!
//! A partition whose queue is full is *paused*: its further batches are dropped, so that it cannot hold up the other
//! partitions of the stream. When half of the queue is free, the log is opened again at the first dropped record.

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
use crate::log::{Batch, Offsets, follow_positions};
use crate::ports::Selector;
use crate::{Error, ErrorKind, Result};

/// The interval of the checks for subscribers, and the delay of a reopening after ingest names a new partition.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The interval at which the log is opened again: a tail does not contain partitions that were added later.
const REOPEN_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum number of records of a partition that are queued until ingest passes them.
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
    /// The newest known positions of ingest.
    ingest_positions: Offsets,
    /// The current positions of ingest, requested whenever the stream is polled.
    position_updates: BoxStream<'static, Offsets>,
    lookups: LookupQueue,
    /// The partitions whose queue is full, and whose batches are dropped until the log is opened again.
    paused_partitions: BTreeSet<u32>,
    /// Whether ingest has named a partition that `batches` does not contain.
    has_new_partition: bool,
}

impl Reader {
    /// Opens the log at the positions of ingest, registers a first subscriber to `selector`, and spawns the reader.
    pub(super) async fn start(feed: &Arc<FeedInner>, selector: &Selector) -> Result<Registration> {
        // Purchases behind the positions of ingest are the ones that are not visible yet.
        let ingest_positions = feed.positions.positions().await?;
        let tail = feed.log.tail(&ingest_positions).await?;

        let hub = Arc::new(Hub::new(
            log_digest(&tail),
            tail.start.clone(),
            &feed.options,
        ));
        // The reader ends without subscribers, so the first one registers before it runs.
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
            has_new_partition: false,
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

    /// Follows the log until the feed is closed, no subscriber is left, or the log ends.
    async fn follow_log(&mut self) -> Result<()> {
        let closed = self.feed.closed.clone();
        let mut usage_checks = interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = closed.cancelled() => return Ok(()),
                batch = self.batches.try_next() => match batch? {
                    Some(batch) => self.enqueue_batch(&batch),
                    None => return Ok(()),
                },
                Some(purchases) = self.lookups.next() => {
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

    /// Queues the purchases of `batch`, unless its partition is paused. Pauses a partition whose queue is full.
    fn enqueue_batch(&mut self, batch: &Batch) {
        let partition = batch.partition.index;
        let Some(last) = batch.records.last() else {
            return;
        };
        if self.paused_partitions.contains(&partition) {
            return;
        }

        self.lookups.push(LoggedPurchase::decode_batch(batch));
        self.read_offsets.insert(partition, last.offset + 1);
        if self.lookups.queued_in(partition) >= self.max_queued() {
            self.paused_partitions.insert(partition);
        }
    }

    /// Returns the maximum number of queued purchases of one partition.
    fn max_queued(&self) -> usize {
        let partition_count = self.read_offsets.len().max(1);
        (self.feed.options.held_records / partition_count).max(MIN_QUEUED)
    }

    /// Returns whether the reader has read a record that ingest has not passed, as far as is known.
    ///
    /// Otherwise newer positions of ingest would make no purchase visible, and are not requested.
    fn is_ahead_of_ingest(&self) -> bool {
        self.read_offsets
            .iter()
            .any(|(partition, offset)| next_offset(&self.ingest_positions, *partition) < *offset)
    }

    /// Moves the known positions of ingest forward to `positions`.
    fn update_ingest_positions(&mut self, positions: &Offsets) {
        self.has_new_partition |= positions
            .keys()
            .any(|partition| !self.read_offsets.contains_key(partition));
        advance_offsets(&mut self.ingest_positions, positions);
    }

    /// Moves the delivered offsets of the hub forward: past records that are not purchases, for example.
    fn advance_hub(&self) {
        let delivered = self.read_offsets.iter().map(|(partition, read_offset)| {
            let ingest_position = next_offset(&self.ingest_positions, *partition);
            let first_undelivered = self.lookups.first_offset(*partition).unwrap_or(u64::MAX);
            (
                *partition,
                ingest_position.min(*read_offset).min(first_undelivered),
            )
        });
        self.hub.advance(delivered);
    }

    /// Returns whether a paused partition can be read on, or partitions may have been added to the log.
    fn is_reopening_due(&self) -> bool {
        let interval = if self.has_new_partition {
            CHECK_INTERVAL
        } else {
            REOPEN_INTERVAL
        };
        let resume_at = self.max_queued() / 2;
        let mut paused = self.paused_partitions.iter();
        self.opened_at.elapsed() >= interval
            || paused.any(|partition| self.lookups.queued_in(*partition) <= resume_at)
    }

    /// Opens the log again at the next offset to read of each partition, and resumes the partitions with room.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the log no longer contains a record that was not read, or was
    /// restored from a backup.
    async fn reopen_log(&mut self) -> Result<()> {
        let tail = self.feed.log.tail(&self.read_offsets).await?;
        let starts_elsewhere = self
            .read_offsets
            .iter()
            .any(|(partition, offset)| tail.start.get(partition) != Some(offset));
        if starts_elsewhere || log_digest(&tail) != self.hub.log_digest {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "records that were not read are gone",
            ));
        }

        let resume_at = self.max_queued() / 2;
        self.paused_partitions
            .retain(|partition| self.lookups.queued_in(*partition) > resume_at);
        self.read_offsets = tail.start;
        self.batches = tail.batches;
        self.opened_at = Instant::now();
        self.has_new_partition = false;
        Ok(())
    }
}

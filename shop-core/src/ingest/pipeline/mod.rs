//! The decisions of ingest, without I/O: takes an event and the time, and returns actions.
//!
//! [`driver`](super::driver) reports each event and performs the actions. Nothing here waits, reads
//! a clock or calls a port, so a test can pass any sequence of events.
//!
//! | Part | Responsibility |
//! |---|---|
//! | this module | The batches in flight, the events of the source, and the shutdown |
//! | `progress` | The durable prefix of each partition, behind which no position is committed |
//! | `commits` | When the durable positions are committed |
//! | `drain` | The end of partitions that are revoked, and of all at a shutdown |
//! | `report` | The reported status |
//!
//! An *epoch* is one period in which this member owns a partition. After the end of an epoch,
//! another member may own the partition, and results for the old epoch are ignored.

mod commits;
mod drain;
#[cfg(test)]
mod pipeline_test;
mod progress;
mod report;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::event::{BatchEvent, BatchOutcome, EventDemand, PipelineAction, PipelineEvent};
use super::status::{BatchReport, Component, StuckRecord};
use super::{IngestCounters, IngestOptions};
use crate::log::{
    Batch, CommitOffset, Gap, LogRecord, Partition, Revocation, RevocationCause, SourceEvent,
};
use crate::{Error, ErrorKind, Result};
pub(super) use commits::overdue_error;
use drain::DrainDeadlines;
use progress::{FirstRecord, PartitionProgress};

/// The minimum time that the source gets to leave its group, even if the drain took longer.
const MIN_CLOSE: Duration = Duration::from_millis(500);

/// The key of a partition in any epoch: its topic and its index.
type PartitionKey = (Arc<str>, u32);

/// A batch that was started and is not finished.
#[derive(Debug)]
struct InFlightBatch {
    partition: Partition,
    records: usize,
    bytes: usize,
    read_at: Instant,
    /// The component whose call for this batch fails, since when it fails, and the error.
    failing: Option<(Component, Instant, Error)>,
    /// The stuck records by their index in the batch. The store fails over a stuck record although
    /// it is healthy.
    stuck: BTreeMap<usize, StuckRecord>,
}

/// The state of one member of the group: its partitions, batches in flight, durable offsets and
/// deadlines.
#[derive(Debug, Default)]
pub(super) struct IngestPipeline {
    options: IngestOptions,
    /// The number of the next batch, gap or partition end, which is also how many there were so
    /// far.
    next_batch_number: u64,
    /// The batches in flight, by number.
    in_flight: BTreeMap<u64, InFlightBatch>,
    /// The progress of each partition in its newest known epoch.
    partitions: BTreeMap<PartitionKey, PartitionProgress>,
    /// The revocations that are being drained. The rebalance of a revocation waits until
    /// [`PipelineAction::EndRevocation`].
    draining_revocations: Vec<Arc<Revocation>>,
    /// The time of the next commit: after the commit interval, or after a pause when commits fail.
    commit_backoff: Backoff,
    /// Whether a commit is in progress. There is at most one.
    is_committing: bool,
    /// The instant at which the commit in progress is overdue, or `None` once that was reported.
    commit_overdue_at: Option<Instant>,
    /// The backoff of reading from the source.
    read_backoff: Backoff,
    /// Control events are not requested before this instant.
    control_not_before: Option<Instant>,
    /// Whether the source closed by itself.
    source_ended: bool,
    /// The deadlines of the shutdown; `None` until it begins.
    shutdown_deadlines: Option<DrainDeadlines>,
    /// The error that stopped the pipeline, if it stopped by itself.
    pub(super) failure: Option<Error>,
    counters: IngestCounters,
    /// The number of lost offsets of each partition, in all gaps.
    lost: BTreeMap<PartitionKey, u64>,
    /// The last gap of each partition.
    last_gaps: BTreeMap<PartitionKey, Range<u64>>,
    /// The age of the oldest record inserted by the last batch that inserted any.
    freshness: Option<Duration>,
    /// The number of failed calls of each component that were retried.
    retries: BTreeMap<Component, u64>,
    /// Whether failures or stuck records have changed since the last report.
    failures_changed: bool,
    /// The components that failed (with the error) or recovered (without), and were not logged yet.
    transitions: Vec<(Component, Option<Error>)>,
    /// The actions for the event that is being handled. Empty between two events.
    actions: Vec<PipelineAction>,
}

impl IngestPipeline {
    /// Creates the pipeline of a member that has read nothing.
    pub(super) fn new(options: IngestOptions) -> Self {
        Self {
            commit_backoff: Backoff::new(&options),
            read_backoff: Backoff::new(&options),
            options,
            ..Self::default()
        }
    }

    /// Handles `event` at the instant `now`, and returns the resulting actions.
    ///
    /// The driver also calls this function with [`PipelineEvent::Time`] when a deadline passes. A
    /// close is always the last action of a pipeline.
    #[must_use]
    pub(super) fn handle(&mut self, event: PipelineEvent, now: Instant) -> Vec<PipelineAction> {
        match event {
            PipelineEvent::Shutdown => self.begin_shutdown(None, now),
            PipelineEvent::Time => {}
            PipelineEvent::Source { demand, result } => {
                self.on_source_result(demand, result, now);
            }
            PipelineEvent::Batch(number, event) => self.on_batch_event(number, event, now),
            PipelineEvent::Committed(offsets, outcome) => {
                self.on_commit_outcome(offsets, outcome, now);
            }
        }

        // A source that waits without an error is healthy, even if it delivers nothing.
        if self
            .read_backoff
            .healthy_at()
            .is_some_and(|healthy_at| healthy_at <= now)
        {
            self.on_source_healthy();
        }
        self.report_overdue_commit(now);
        self.finish_drains(now);

        if let Some(deadlines) = self.shutdown_deadlines
            && self.is_shutdown_drained(deadlines, now)
        {
            let time_left = deadlines.give_up_by.saturating_duration_since(now);
            self.actions
                .push(PipelineAction::Close(time_left.max(MIN_CLOSE)));
        } else {
            // A shutdown waits for the commit of its durable positions, so commits go on until the
            // close.
            self.start_commit(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// Returns the events that the driver may request from the source at `now`.
    ///
    /// The source is paused while no batches are requested: at the limits of batches or bytes in
    /// flight, during a backoff, and during a shutdown.
    pub(super) fn event_demand(&self, now: Instant) -> EventDemand {
        if self.source_ended {
            EventDemand::Nothing
        } else if self.has_room() && self.read_backoff.is_due(now) {
            EventDemand::Next
        } else if self
            .control_not_before
            .is_none_or(|not_before| not_before <= now)
        {
            // Revocations are requested even without capacity or during a backoff.
            EventDemand::Control
        } else {
            EventDemand::Nothing
        }
    }

    /// Returns the next instant after `now` at which the pipeline must be called with
    /// [`PipelineEvent::Time`].
    ///
    /// Deadlines up to `now` were handled by the last call of [`handle`](Self::handle). Returns
    /// `None` if nothing is due.
    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let drain_deadlines = self
            .partitions
            .values()
            .filter_map(|progress| progress.drain_deadlines)
            .chain(self.shutdown_deadlines)
            .flat_map(|deadlines| [deadlines.drain_by, deadlines.give_up_by]);
        let is_commit_awaited = !self.is_committing && self.has_uncommitted_offsets();
        let commit_due_at = if is_commit_awaited {
            self.commit_backoff.not_before
        } else {
            None
        };
        let call_deadlines = [
            self.read_backoff.not_before,
            self.read_backoff.healthy_at(),
            self.control_not_before,
            commit_due_at,
            self.commit_overdue_at,
        ];

        drain_deadlines
            .chain(call_deadlines.into_iter().flatten())
            .filter(|deadline| *deadline > now)
            .min()
    }

    /// Checks whether the pipeline is shutting down.
    pub(super) const fn is_stopping(&self) -> bool {
        self.shutdown_deadlines.is_some()
    }

    /// Checks whether another batch may be read: no limit of batches in flight is reached, and the
    /// pipeline is not shutting down.
    ///
    /// A limit of zero counts as one, because the pipeline would read nothing otherwise.
    fn has_room(&self) -> bool {
        self.shutdown_deadlines.is_none()
            && self.in_flight.len() < self.options.max_in_flight_batches.max(1)
            && self.in_flight_bytes() < self.options.max_in_flight_bytes.max(1)
    }

    /// Returns the bytes of the batches in flight.
    fn in_flight_bytes(&self) -> usize {
        self.in_flight.values().map(|batch| batch.bytes).sum()
    }

    /// Returns the progress of `partition`, or `None` if its epoch is over or unknown.
    fn partition_progress(&mut self, partition: &Partition) -> Option<&mut PartitionProgress> {
        self.partitions
            .get_mut(&partition_key(partition))
            .filter(|progress| progress.partition == *partition && !progress.has_ended)
    }

    /// Returns the progress of `partition`, and begins the epoch of `partition` if it is new.
    ///
    /// A new epoch starts without progress. The batches of the older epoch are abandoned. Returns
    /// `None` if the epoch of `partition` is over.
    fn enter_epoch(&mut self, partition: &Partition) -> Option<&mut PartitionProgress> {
        let progress = self
            .partitions
            .entry(partition_key(partition))
            .or_insert_with(|| PartitionProgress::new(partition.clone()));
        if progress.is_stale_epoch(partition.epoch) {
            return None;
        }

        if progress.partition != *partition {
            let new_progress = PartitionProgress::new(partition.clone());
            let old_progress = std::mem::replace(progress, new_progress);
            // A partition that was left is abandoned already.
            if !old_progress.has_ended {
                self.actions
                    .push(PipelineAction::Abandon(old_progress.partition));
            }
        }
        Some(progress)
    }

    /// Handles the `result` of the source for a request for the events of `demand`.
    ///
    /// An error other than [`Closed`](ErrorKind::Closed) is retried after a pause.
    fn on_source_result(&mut self, demand: EventDemand, result: Result<SourceEvent>, now: Instant) {
        // A control event does not show that batches can be read.
        if demand == EventDemand::Next && result.is_ok() {
            self.on_source_healthy();
        }

        match result {
            // An empty batch adds no offset to commit.
            Ok(SourceEvent::Batch(batch)) if batch.records.is_empty() => {}
            Ok(SourceEvent::Batch(batch)) => {
                let no_gap = None;
                self.start_batch(batch, no_gap, now);
            }
            Ok(SourceEvent::Gap(gap)) => {
                // A gap passes through the pipeline like a batch, so that the position passes it in
                // the order of the log.
                let empty_batch = Batch::new(gap.partition.clone(), Vec::new());
                self.start_batch(empty_batch, Some(gap), now);
            }
            Ok(SourceEvent::PartitionEnd(end)) => self.pass_partition_end(&end, now),
            Ok(SourceEvent::Revoked(revocation)) if revocation.cause == RevocationCause::Lost => {
                // Nothing to drain: the batches in flight belong to an ended epoch.
                self.leave_partitions(&revocation.partitions);
                self.actions
                    .push(PipelineAction::EndRevocation(Arc::new(revocation)));
            }
            Ok(SourceEvent::Revoked(revocation)) => self.begin_drain(revocation, now),
            Ok(SourceEvent::Closed) => self.on_source_closed(now),
            Err(error) if error.kind() == ErrorKind::Closed => self.on_source_closed(now),
            Err(error) => {
                let retry_at = self.read_backoff.record_failure(&error, now);
                // The backoff of reading delays batches only. Control events are requested during
                // it, so they need a pause of their own.
                if demand == EventDemand::Control {
                    self.control_not_before = Some(retry_at);
                }
                self.count_retry(Component::Source);
            }
        }
    }

    /// Begins the shutdown, because the source returns no further event.
    fn on_source_closed(&mut self, now: Instant) {
        tracing::info!("source closed, ingest ends");
        self.source_ended = true;
        // The end of the source is no failure.
        self.begin_shutdown(None, now);
    }

    /// Ends the recorded failure of reading, if there is one.
    fn on_source_healthy(&mut self) {
        let has_recovered = self.read_backoff.record_success();
        self.failures_changed |= has_recovered;
    }

    /// Starts the processing of `batch`. With a `gap`, the batch contains no records, and the gap is
    /// kept as a dead letter.
    ///
    /// A batch of an ended epoch is ignored.
    fn start_batch(&mut self, batch: Batch, gap: Option<Gap>, now: Instant) {
        let number = self.next_batch_number;
        let Some(progress) = self.enter_epoch(&batch.partition) else {
            // The progress of this epoch is unknown, so no offset of the batch may be committed.
            tracing::error!(
                log.partition = batch.partition.index,
                log.epoch = batch.partition.epoch,
                "batch of an ended epoch ignored"
            );
            return;
        };
        let first_record = FirstRecord {
            read_at: now,
            time: batch.records.first().and_then(LogRecord::known_time),
        };
        progress.add_batch(number, first_record);
        // The drain of this epoch may be out of time already.
        let is_abandoned = progress.is_abandoned;
        self.next_batch_number += 1;

        let partition = batch.partition.clone();
        let batch_in_flight = InFlightBatch {
            partition: partition.clone(),
            records: batch.records.len(),
            bytes: batch.size(),
            read_at: now,
            failing: None,
            stuck: BTreeMap::new(),
        };
        self.in_flight.insert(number, batch_in_flight);
        self.actions
            .push(PipelineAction::Start { number, batch, gap });
        // The abandonment follows the start, because the driver creates the cancellation token of
        // the batch when it starts the batch.
        if is_abandoned {
            self.actions.push(PipelineAction::Abandon(partition));
        }
    }

    /// Moves the position of a partition to its `end`, as soon as everything before the end is
    /// durable. The last offsets of a partition may contain no record that would move it there.
    ///
    /// The end is ignored if its epoch is over.
    fn pass_partition_end(&mut self, end: &CommitOffset, now: Instant) {
        let batch_number = self.next_batch_number;
        let Some(progress) = self.enter_epoch(&end.partition) else {
            return;
        };
        progress.add_end(batch_number, end.next_offset, now);
        self.next_batch_number += 1;
    }

    /// Handles a report of the batch `number`. The report of a batch that is not in flight is
    /// ignored.
    fn on_batch_event(&mut self, number: u64, event: BatchEvent, now: Instant) {
        let Some(batch) = self.in_flight.get_mut(&number) else {
            return;
        };

        match event {
            BatchEvent::Finished(outcome) => {
                return self.finish_batch(number, outcome, now);
            }
            BatchEvent::Failed(component, since, error) => {
                batch.failing = Some((component, since, error));
                self.count_retry(component);
            }
            BatchEvent::Recovered => batch.failing = None,
            BatchEvent::Stuck(index, record) => self.record_stuck(number, index, record),
            BatchEvent::Freed(index) => {
                batch.stuck.remove(&index);
            }
        }
        self.failures_changed = true;
    }

    /// Ends the batch `number`: counts its outcome, and moves the durable prefix of its partition
    /// forward.
    ///
    /// `outcome` is `None` for an abandoned batch, whose records are redelivered. An outcome with
    /// an error begins the shutdown.
    fn finish_batch(&mut self, number: u64, outcome: Option<BatchOutcome>, now: Instant) {
        let Some(batch) = self.in_flight.remove(&number) else {
            return;
        };
        // A failure of the batch disappears from the status with the batch.
        self.failures_changed |= batch.failing.is_some() || !batch.stuck.is_empty();
        let Some(outcome) = outcome else {
            return;
        };

        if let Some(gap) = outcome.gap {
            self.count_gap(partition_key(&batch.partition), gap);
        } else {
            self.actions.push(PipelineAction::Completed(BatchReport {
                records: batch.records,
                bytes: batch.bytes,
                counters: outcome.counters,
                duration: now.saturating_duration_since(batch.read_at),
                freshness: outcome.freshness,
            }));
        }
        self.counters.add(&outcome.counters);
        self.freshness = outcome.freshness.or(self.freshness);

        // The records of an ended epoch are stored and counted, but another member commits them.
        if let Some(progress) = self.partition_progress(&batch.partition) {
            progress.finish_batch(number, outcome.state);
        }

        if outcome.stop.is_some() {
            self.begin_shutdown(outcome.stop, now);
        }
    }

    /// Counts the offsets of a gap, a range of offsets that the log lost.
    ///
    /// A gap is delivered again if its position was not committed, and may have grown in between.
    /// The offsets of the last gap of a partition are not counted again.
    fn count_gap(&mut self, partition: PartitionKey, gap: Range<u64>) {
        let last_gap = self.last_gaps.entry(partition.clone()).or_default();
        let first_uncounted_offset = if last_gap.contains(&gap.start) {
            last_gap.end
        } else {
            gap.start
        };
        let newly_lost_count = gap.end.saturating_sub(first_uncounted_offset);

        *last_gap = gap;
        *self.lost.entry(partition).or_default() += newly_lost_count;
        self.counters.lost += newly_lost_count;
    }

    /// Begins the shutdown: drains all partitions within the drain timeout.
    ///
    /// `failure` is the error that stops the pipeline, or `None` for a requested shutdown. The
    /// first failure is kept. A second call changes no deadline.
    fn begin_shutdown(&mut self, failure: Option<Error>, now: Instant) {
        if let Some(error) = failure
            && self.failure.is_none()
        {
            // Batches that end later may report the same error.
            tracing::warn!(error = %error.chain(), "ingest stopping, draining batches in flight");
            self.failure = Some(error);
        }

        if self.shutdown_deadlines.is_some() {
            return;
        }

        let deadlines = DrainDeadlines::within(self.options.drain_timeout, now);
        self.shutdown_deadlines = Some(deadlines);
        for progress in self.partitions.values_mut() {
            progress.begin_drain(deadlines);
        }
        // The drain waits for the commit, so the commit is tried at once, without backoff.
        self.commit_backoff.retry_now();
    }
}

/// Returns the key of `partition`, which is the same in each epoch.
fn partition_key(partition: &Partition) -> PartitionKey {
    (Arc::clone(&partition.topic), partition.index)
}

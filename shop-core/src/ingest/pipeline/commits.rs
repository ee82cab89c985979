//! The commits of durable positions, with at most one commit in progress.
//!
//! A commit contains the positions of all partitions with a new position. The driver performs it,
//! and reports the outcome as an event.

use std::time::{Duration, Instant};

use super::super::backoff::saturating_instant;
use super::super::event::PipelineAction;
use super::super::status::Component;
use super::IngestPipeline;
use super::progress::PartitionProgress;
use crate::log::{CommitOffset, CommitOutcome};
use crate::{Error, ErrorKind, Result};

/// The time after which a commit without an outcome is reported. The timeouts of adapters are far
/// shorter.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);

impl IngestPipeline {
    /// Checks whether the durable position of a partition is not committed yet.
    pub(super) fn has_uncommitted_offsets(&self) -> bool {
        self.partitions
            .values()
            .any(|progress| progress.uncommitted_offset().is_some())
    }

    /// Starts a commit of all new durable positions, if one is due and none is in progress.
    ///
    /// A drain does not wait for the commit interval, because a rebalance or a shutdown waits for
    /// the drain. It does wait for the pause after a failed commit.
    pub(super) fn start_commit(&mut self, now: Instant) {
        let is_draining =
            self.shutdown_deadlines.is_some() || !self.draining_revocations.is_empty();
        let is_interval_skipped = is_draining && self.commit_backoff.failing.is_none();
        let is_due = is_interval_skipped || self.commit_backoff.is_due(now);
        if self.is_committing || !is_due {
            return;
        }

        // A partition without a new durable position is left out.
        let positions: Vec<CommitOffset> = self
            .partitions
            .values()
            .filter_map(PartitionProgress::commit_offset)
            .collect();
        if positions.is_empty() {
            return;
        }

        for progress in self.partitions.values_mut() {
            progress.begin_commit();
        }
        self.commit_backoff.not_before =
            Some(saturating_instant(now, self.options.commit_interval));
        // No further commit starts before `on_commit_outcome` receives the outcome of this one.
        self.is_committing = true;
        self.commit_overdue_at = Some(saturating_instant(now, COMMIT_TIMEOUT));
        self.actions.push(PipelineAction::Commit(positions));
    }

    /// Handles the outcome of the commit of `positions`.
    ///
    /// The log returns one outcome per position. A fenced position belongs to an epoch that is
    /// over: another member owns the partition, so this member leaves it.
    pub(super) fn on_commit_outcome(
        &mut self,
        positions: Vec<CommitOffset>,
        outcome: Result<Vec<CommitOutcome>>,
        now: Instant,
    ) {
        self.is_committing = false;
        self.commit_overdue_at = None;

        // Without one outcome per position, it is unknown which positions were committed.
        let outcomes = match outcome {
            Ok(outcomes) if outcomes.len() == positions.len() => outcomes,
            Ok(_) => return self.on_commit_error(&miscounted_outcomes_error(), now),
            Err(error) => return self.on_commit_error(&error, now),
        };
        let has_recovered = self.commit_backoff.record_success();
        self.failures_changed |= has_recovered;

        for (position, outcome) in positions.into_iter().zip(outcomes) {
            if outcome == CommitOutcome::Fenced {
                self.leave_partitions(&[position.partition]);
                continue;
            }
            // A partition that was left during the commit has no progress to confirm.
            if let Some(progress) = self.partition_progress(&position.partition) {
                progress.confirm_commit(position.next_offset);
            }
        }
    }

    /// Records a failed commit, which is retried after a pause.
    ///
    /// An [`Internal`](ErrorKind::Internal) error is a defect, and stops the pipeline.
    fn on_commit_error(&mut self, error: &Error, now: Instant) {
        self.commit_backoff.record_failure(error, now);
        self.count_retry(Component::Commit);
        if error.kind() == ErrorKind::Internal {
            self.begin_shutdown(Some(error.clone()), now);
        }
    }

    /// Reports the commit in progress as failing once it is overdue.
    ///
    /// The commit is not abandoned, because it may have moved the position. No other commit starts
    /// before it ends.
    pub(super) fn report_overdue_commit(&mut self, now: Instant) {
        // The time is removed, so that a commit is reported as overdue once.
        let reached_overdue_at = self
            .commit_overdue_at
            .take_if(|overdue_at| *overdue_at <= now);
        if reached_overdue_at.is_some() {
            self.commit_backoff
                .record_error(&overdue_error("a commit", COMMIT_TIMEOUT), now);
            self.failures_changed = true;
        }
    }
}

/// Creates the error for a source that did not return one outcome per position. This is a defect of
/// the source.
fn miscounted_outcomes_error() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the source did not return one outcome per position",
    )
    .with_origin("ingest")
}

/// Creates the error for a `call` that did not end within `time`.
pub(in super::super) fn overdue_error(call: &str, time: Duration) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!("{call} has not ended within {} s", time.as_secs_f32()),
    )
    .with_origin("ingest")
}

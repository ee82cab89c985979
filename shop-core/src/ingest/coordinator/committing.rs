//! Commits what is durable: one commit at a time, each a task of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::super::departure::after;
use super::super::progress::Progress;
use super::super::status::Part;
use super::{Coordinator, overdue};
use crate::log::{CommitOffset, CommitOutcome, Partition};
use crate::record::Record;
use crate::{Error, ErrorKind, Result};

/// What was to be committed, and what became of it.
pub(super) type Committed = (Vec<CommitOffset>, Result<Vec<CommitOutcome>>);

/// When a commit is reported that has neither succeeded nor failed. Adapters bound it far below.
const COMMIT_PATIENCE: Duration = Duration::from_secs(15);

impl<R: Record> Coordinator<R> {
    pub(super) fn has_positions(&self) -> bool {
        self.partitions.values().any(|progress| progress.to_commit().is_some())
    }

    pub(super) fn start_commit(&mut self, now: Instant) {
        let waited_for = !self.departures.is_empty() && !self.carrier.status.has_trouble(Part::Commit);
        if self.committing.is_some() || !waited_for && self.next_commit > now {
            return;
        }
        let position = |(partition, progress): (&Partition, &Progress)| {
            progress.to_commit().map(|next| CommitOffset::new(partition.clone(), next))
        };
        let positions: Vec<CommitOffset> = self.partitions.iter().filter_map(position).collect();
        if positions.is_empty() {
            return;
        }
        self.partitions.values_mut().for_each(Progress::begin_commit);
        self.next_commit = after(now, self.carrier.options.commit_interval);
        self.commit_overdue = Some(after(now, COMMIT_PATIENCE));
        let source = Arc::clone(&self.source);
        // A task of its own: a commit that has begun is never dropped half-way.
        self.committing = Some(tokio::spawn(async move {
            let commit = AssertUnwindSafe(source.commit(&positions)).catch_unwind().await;
            let outcome = commit.unwrap_or_else(|panic| Err(Error::of_panic(&*panic).with_origin("ingest")));
            (positions, outcome)
        }));
    }

    pub(super) fn note_commit(
        &mut self,
        positions: Vec<CommitOffset>,
        outcome: Result<Vec<CommitOutcome>>,
        now: Instant,
    ) {
        self.commit_overdue = None;
        let outcomes = match outcome {
            Ok(outcomes) if outcomes.len() == positions.len() => outcomes,
            Ok(_) => return self.note_commit_error(&miscounted(), now),
            Err(error) => return self.note_commit_error(&error, now),
        };
        self.carrier.status.works(Part::Commit, None);
        self.commit_pauses = self.carrier.options.backoff();
        for (position, outcome) in positions.into_iter().zip(outcomes) {
            match outcome {
                CommitOutcome::Fenced => self.forget(&[position.partition]),
                CommitOutcome::Committed => {
                    if let Some(progress) = self.partitions.get_mut(&position.partition) {
                        progress.committed(position.next);
                    }
                }
            }
        }
    }

    fn note_commit_error(&mut self, error: &Error, now: Instant) {
        self.carrier.status.trouble(Part::Commit, None, error);
        self.next_commit = after(now, self.carrier.options.pause(&mut self.commit_pauses, error));
        if error.kind() == ErrorKind::Internal {
            self.stop(Some(error.clone()), now);
        }
    }

    /// Reports a commit that does not end. It is not given up: it may have moved the position.
    pub(super) fn note_overdue(&mut self, now: Instant) {
        if self.commit_overdue.is_some_and(|at| at <= now) {
            self.commit_overdue = None;
            self.carrier.status.wait(Part::Commit, None, &overdue("a commit", COMMIT_PATIENCE));
        }
    }
}

fn miscounted() -> Error {
    Error::new(ErrorKind::Internal, "the source did not answer with one outcome for each position")
        .with_origin("ingest")
}

//! Commits durable offsets, with at most one commit in progress.

use std::time::{Duration, Instant};

use super::super::IngestOptions;
use super::super::backoff::{Backoff, after};
use super::super::event::Action;
use super::super::status::Component;
use super::progress::Progress;
use super::{Ownership, Pipeline};
use crate::log::{CommitOffset, CommitOutcome};
use crate::{Error, ErrorKind, Result};

/// After this time a commit that has neither succeeded nor failed is reported. Adapters have far shorter timeouts.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);

/// The state of commits.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(Hash))]
pub(super) struct Commits {
    /// Also tracks the interval between two commits.
    pub(super) backoff: Backoff,
    state: CommitState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
enum CommitState {
    None,
    /// One is in progress, and is overdue at this instant.
    UnderWay(Instant),
    /// One is in progress and was reported as overdue.
    Overdue,
}

impl Commits {
    pub(super) fn new(options: &IngestOptions) -> Self {
        Self { backoff: Backoff::new(options), state: CommitState::None }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.state != CommitState::None
    }

    pub(super) fn deadlines(&self, has_offsets: bool) -> [Option<Instant>; 2] {
        match self.state {
            CommitState::None if has_offsets => [self.backoff.not_before(), None],
            CommitState::UnderWay(overdue_at) => [None, Some(overdue_at)],
            CommitState::None | CommitState::Overdue => [None, None],
        }
    }
}

impl Pipeline {
    pub(super) fn has_offsets(&self) -> bool {
        let mut owned = self.partitions.values().filter_map(Ownership::progress);
        owned.any(|progress| progress.to_commit().is_some())
    }

    pub(super) fn start_commit(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Commits { backoff, state } = &self.commits;
        let is_draining = self.stopping.is_some() || !self.drains.is_empty();
        let is_hurried = is_draining && backoff.failing().is_none();
        if *state != CommitState::None || !is_hurried && !backoff.is_due(now) {
            return;
        }
        let owned = self.partitions.values().filter_map(Ownership::progress);
        let offsets: Vec<CommitOffset> = owned.filter_map(Progress::commit_offset).collect();
        if offsets.is_empty() {
            return;
        }
        for progress in self.partitions.values_mut().filter_map(Ownership::progress_mut) {
            progress.begin_commit();
        }
        self.commits.backoff.wait_until(after(now, self.options.commit_interval));
        self.commits.state = CommitState::UnderWay(after(now, COMMIT_TIMEOUT));
        actions.push(Action::Commit(offsets));
    }

    pub(super) fn on_commit(
        &mut self,
        offsets: Vec<CommitOffset>,
        outcome: Result<Vec<CommitOutcome>>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.commits.state = CommitState::None;
        let outcomes = match outcome {
            Ok(outcomes) if outcomes.len() == offsets.len() => outcomes,
            Ok(_) => return self.on_commit_error(&miscounted(), now),
            Err(error) => return self.on_commit_error(&error, now),
        };
        self.failures_changed |= self.commits.backoff.recovered();
        for (CommitOffset { partition, next_offset: next }, outcome) in offsets.into_iter().zip(outcomes) {
            if outcome == CommitOutcome::Fenced {
                self.leave(&[partition], actions);
                continue;
            }
            let owned = self.partitions.get_mut(&super::key(&partition));
            if let Some(progress) = owned.and_then(Ownership::progress_mut)
                && progress.partition == partition
            {
                progress.committed(next);
            }
        }
    }

    fn on_commit_error(&mut self, error: &Error, now: Instant) {
        self.commits.backoff.failed(error, now);
        self.count_retry(Component::Commit);
        if error.kind() == ErrorKind::Internal {
            self.stop(Some(error.clone()), now);
        }
    }

    /// Reports an overdue commit. It is not abandoned, because it may have moved the position.
    pub(super) fn report_overdue_commit(&mut self, now: Instant) {
        if let CommitState::UnderWay(overdue_at) = self.commits.state
            && overdue_at <= now
        {
            self.commits.state = CommitState::Overdue;
            self.commits.backoff.report(&overdue("a commit", COMMIT_TIMEOUT), now);
            self.failures_changed = true;
        }
    }
}

fn miscounted() -> Error {
    Error::new(ErrorKind::Internal, "the source did not return one outcome per position")
        .with_origin("ingest")
}

pub(in super::super) fn overdue(what: &str, time: Duration) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("{what} has not ended within {} s", time.as_secs_f32()))
        .with_origin("ingest")
}

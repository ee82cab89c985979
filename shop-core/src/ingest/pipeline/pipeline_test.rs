//! The decisions of the pipeline, event by event.

use super::super::event::BatchState;
use super::super::fixture::unavailable;
use super::super::status::IngestStatus;
use super::*;
use crate::log::CommitOutcome;
use crate::{Retry, Timestamp};

const SECOND: Duration = Duration::from_secs(1);

/// A pipeline, its last status, and the time.
struct Fixture {
    pipeline: IngestPipeline,
    status: IngestStatus,
    now: Instant,
}

fn partition(epoch: u64) -> Partition {
    Partition::new("cluster".into(), "purchases".into(), 0, epoch)
}

fn batch(epoch: u64, offset: u64) -> Batch {
    Batch::new(
        partition(epoch),
        vec![LogRecord::new(offset, Timestamp::MIN, Some("{}".into()))],
    )
}

impl Fixture {
    fn new() -> Self {
        Self::with_options(IngestOptions::default())
    }

    fn with_options(options: IngestOptions) -> Self {
        Self {
            pipeline: IngestPipeline::new(options),
            status: IngestStatus::default(),
            now: Instant::now(),
        }
    }

    fn handle(&mut self, event: PipelineEvent) -> Vec<PipelineAction> {
        self.pipeline.handle(event, self.now)
    }

    fn demand(&self) -> EventDemand {
        self.pipeline.event_demand(self.now)
    }

    fn status(&mut self) -> &IngestStatus {
        self.pipeline.update_status(&mut self.status);
        &self.status
    }

    /// The source answers the present demand.
    fn source(&mut self, result: Result<SourceEvent>) -> Vec<PipelineAction> {
        let demand = self.demand();
        self.handle(PipelineEvent::Source { demand, result })
    }

    /// The source delivers batches of one record each.
    fn read(&mut self, epoch: u64, offsets: Range<u64>) {
        for offset in offsets {
            let actions = self.source(Ok(SourceEvent::Batch(batch(epoch, offset))));
            assert!(
                matches!(actions[..], [PipelineAction::Start { .. }]),
                "{actions:?}"
            );
        }
    }

    /// All records of batch `number` are durable, up to the offset `next_offset`.
    fn finish(&mut self, number: u64, next_offset: u64) -> Vec<PipelineAction> {
        let outcome = BatchOutcome {
            counters: IngestCounters::default(),
            gap: None,
            state: BatchState::Durable(next_offset),
            stop: None,
            freshness: None,
        };
        self.handle(PipelineEvent::Batch(
            number,
            BatchEvent::Finished(Some(outcome)),
        ))
    }

    fn revoke(
        &mut self,
        partition: Partition,
        cause: RevocationCause,
        timeout: Duration,
    ) -> Vec<PipelineAction> {
        let revocation = Revocation::new(vec![partition], cause, timeout, || {});
        self.source(Ok(SourceEvent::Revoked(revocation)))
    }

    /// The commit of `next_offset` in epoch 1 ends.
    fn end_commit(
        &mut self,
        next_offset: u64,
        result: Result<Vec<CommitOutcome>>,
    ) -> Vec<PipelineAction> {
        let offsets = vec![CommitOffset::new(partition(1), next_offset)];
        self.handle(PipelineEvent::Committed(offsets, result))
    }

    fn committed(&mut self, next_offset: u64) -> Vec<PipelineAction> {
        self.end_commit(next_offset, Ok(vec![CommitOutcome::Committed]))
    }

    /// Time passes until something is due, but not beyond `limit`.
    fn pass_time(&mut self, limit: Instant) -> Vec<PipelineAction> {
        let deadline = self.pipeline.next_deadline(self.now);
        self.now = deadline.map_or(limit, |deadline| deadline.min(limit));
        self.handle(PipelineEvent::Time)
    }
}

fn committed_offset(actions: &[PipelineAction]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        PipelineAction::Commit(offsets) => Some(offsets[0].next_offset),
        _ => None,
    })
}

fn abandons(actions: &[PipelineAction]) -> bool {
    let is_abandon = |action: &PipelineAction| matches!(action, PipelineAction::Abandon(_));
    actions.iter().any(is_abandon)
}

fn ends_revocation(actions: &[PipelineAction]) -> bool {
    let is_end = |action: &PipelineAction| matches!(action, PipelineAction::EndRevocation(_));
    actions.iter().any(is_end)
}

#[test]
fn batches_and_bytes_in_flight_are_bounded() {
    let size = batch(1, 0).size();
    for (max_in_flight_batches, max_in_flight_bytes) in
        [(2, usize::MAX), (8, size + 1), (8, 2 * size)]
    {
        let mut fixture = Fixture::with_options(IngestOptions {
            max_in_flight_batches,
            max_in_flight_bytes,
            ..IngestOptions::default()
        });
        for offset in 0..2 {
            assert_eq!(fixture.demand(), EventDemand::Next);
            fixture.read(1, offset..offset + 1);
        }
        assert_eq!(
            fixture.demand(),
            EventDemand::Control,
            "the second fills it"
        );
        fixture.finish(0, 1);
        assert_eq!(fixture.demand(), EventDemand::Next);
    }
}

#[test]
fn an_empty_batch_moves_nothing() {
    let mut fixture = Fixture::new();
    let empty = Batch::new(partition(1), Vec::new());
    assert!(fixture.source(Ok(SourceEvent::Batch(empty))).is_empty());
    assert_eq!(fixture.status().in_flight, 0);
}

/// The end of the partition in `epoch` is at `next_offset`.
fn end(epoch: u64, next_offset: u64) -> Result<SourceEvent> {
    let position = CommitOffset::new(partition(epoch), next_offset);
    Ok(SourceEvent::PartitionEnd(position))
}

#[test]
fn an_end_moves_the_position_once_all_before_it_is_durable() {
    // A partition of markers alone.
    let mut fixture = Fixture::new();
    assert_eq!(committed_offset(&fixture.source(end(1, 4))), Some(4));
    assert_eq!(fixture.status().in_flight, 0);
    fixture.committed(4);

    // Records 4 and 5 are in flight, then come markers up to 8, and record 8.
    fixture.now += SECOND;
    fixture.read(1, 4..6);
    assert_eq!(committed_offset(&fixture.source(end(1, 8))), None);
    fixture.read(1, 8..9);
    fixture.finish(4, 9);
    assert_eq!(committed_offset(&fixture.finish(2, 6)), None);
    assert_eq!(committed_offset(&fixture.finish(1, 5)), Some(9));
}

#[test]
fn an_end_behind_a_record_that_is_not_durable_moves_nothing() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    assert!(fixture.source(end(1, 4)).is_empty());
    let stopped = BatchOutcome {
        counters: IngestCounters::default(),
        gap: None,
        state: BatchState::StoppedAt(0),
        stop: Some(unavailable()),
        freshness: None,
    };
    let finished = BatchEvent::Finished(Some(stopped));
    let actions = fixture.handle(PipelineEvent::Batch(0, finished));
    assert_eq!(committed_offset(&actions), Some(0));
}

#[test]
fn an_end_of_an_ended_epoch_moves_nothing() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    fixture.revoke(partition(1), RevocationCause::Lost, SECOND);
    assert!(fixture.source(end(1, 4)).is_empty());

    // An end begins its epoch, as a batch does.
    assert_eq!(committed_offset(&fixture.source(end(3, 4))), Some(4));
    assert!(fixture.source(end(2, 9)).is_empty());
}

#[test]
fn a_drain_waits_for_the_commit_of_the_end() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    fixture.source(end(1, 4));
    let actions = fixture.revoke(partition(1), RevocationCause::Rebalance, SECOND);
    assert!(!ends_revocation(&actions));
    let actions = fixture.finish(0, 1);
    assert_eq!(committed_offset(&actions), Some(4));
    assert!(!ends_revocation(&actions));
    assert!(ends_revocation(&fixture.committed(4)));
}

#[test]
fn a_closed_source_ends_the_pipeline() {
    let closed = Error::new(ErrorKind::Closed, "closed");
    for result in [Ok(SourceEvent::Closed), Err(closed)] {
        let mut fixture = Fixture::new();
        let actions = fixture.source(result);
        assert!(
            matches!(actions[..], [PipelineAction::Close(_)]),
            "{actions:?}"
        );
        assert!(fixture.pipeline.failure.is_none());
        assert_eq!(fixture.demand(), EventDemand::Nothing);
    }
}

#[test]
fn the_error_of_a_batch_ends_with_it() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..2);
    let failed = BatchEvent::Failed(Component::Store, fixture.now, unavailable());
    fixture.handle(PipelineEvent::Batch(0, failed));
    assert!(fixture.status().errors.contains_key(&Component::Store));
    fixture.finish(0, 1);
    assert!(fixture.status().errors.is_empty());

    let stuck = StuckRecord {
        topic: partition(1).topic,
        partition: 0,
        offset: 1,
        id: None,
        since: fixture.now.into(),
        error: unavailable(),
    };
    fixture.handle(PipelineEvent::Batch(1, BatchEvent::Stuck(0, stuck)));
    assert!(fixture.status().stuck.is_some());
    fixture.finish(1, 2);
    assert!(fixture.status().stuck.is_none());
}

#[test]
fn the_oldest_unread_record_is_reported_until_it_is_committed() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    assert_eq!(committed_offset(&fixture.finish(0, 1)), Some(1));
    assert_eq!(
        fixture.status().oldest_unread["purchases"],
        Some(Timestamp::MIN)
    );
    fixture.committed(1);
    assert_eq!(fixture.status().oldest_unread["purchases"], None);
    assert_eq!(
        fixture.pipeline.next_deadline(fixture.now),
        None,
        "nothing is left to do"
    );
}

#[test]
fn a_commit_without_an_outcome_for_each_position_stops_the_pipeline() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    fixture.finish(0, 1);
    let actions = fixture.end_commit(1, Ok(Vec::new()));
    let failure = fixture.pipeline.failure.as_ref().unwrap();
    assert_eq!(failure.kind(), ErrorKind::Internal);
    assert!(fixture.pipeline.is_stopping());
    assert_eq!(
        committed_offset(&actions),
        Some(1),
        "retried at the shutdown"
    );
    let actions = fixture.end_commit(1, Ok(Vec::new()));
    assert_eq!(committed_offset(&actions), None, "and after a pause");
}

#[test]
fn a_revocation_and_a_shutdown_do_not_wait_for_the_commit_interval() {
    for is_shutdown in [false, true] {
        let mut fixture = Fixture::with_options(IngestOptions {
            commit_interval: 600 * SECOND,
            ..IngestOptions::default()
        });
        fixture.read(1, 0..3);
        assert_eq!(committed_offset(&fixture.finish(0, 1)), Some(1));
        fixture.committed(1);
        let within_interval = fixture.finish(1, 2);
        assert_eq!(committed_offset(&within_interval), None);
        let actions = if is_shutdown {
            fixture.handle(PipelineEvent::Shutdown)
        } else {
            fixture.revoke(partition(1), RevocationCause::Rebalance, 5 * SECOND)
        };
        assert_eq!(committed_offset(&actions), Some(2));
        fixture.committed(2);
        let later = fixture.finish(2, 3);
        assert_eq!(committed_offset(&later), Some(3), "nor do later commits");
    }
}

#[test]
fn a_failed_commit_is_retried_after_its_pause_and_by_a_revocation_at_once() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    fixture.finish(0, 1);
    let error = unavailable().with_retry(Retry::After(30 * SECOND));
    let failed = fixture.end_commit(1, Err(error.clone()));
    assert_eq!(committed_offset(&failed), None);
    let failed_at = fixture.now;
    let retried = fixture.pass_time(failed_at + 60 * SECOND);
    assert_eq!(committed_offset(&retried), Some(1));
    assert_eq!(fixture.now, failed_at + 30 * SECOND);

    fixture.end_commit(1, Err(error));
    assert!(!fixture.status().errors.is_empty());
    let actions = fixture.revoke(partition(1), RevocationCause::Rebalance, 5 * SECOND);
    assert_eq!(committed_offset(&actions), Some(1));
    fixture.committed(1);
    assert!(fixture.status().errors.is_empty(), "commits succeed again");
}

#[test]
fn the_last_quarter_of_a_drain_is_reserved_for_the_commit() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..2);
    let revoked = fixture.now;
    let actions = fixture.revoke(partition(1), RevocationCause::Rebalance, 4 * SECOND);
    assert!(!abandons(&actions) && !ends_revocation(&actions));
    assert_eq!(committed_offset(&fixture.finish(0, 1)), Some(1));
    let actions = fixture.pass_time(revoked + 4 * SECOND);
    assert_eq!(fixture.now, revoked + 3 * SECOND);
    assert!(
        abandons(&actions) && !ends_revocation(&actions),
        "the commit is under way: {actions:?}"
    );
    let actions = fixture.committed(1);
    assert!(
        ends_revocation(&actions),
        "before the rebalance continues without it"
    );
}

#[test]
fn a_revocation_ends_at_its_deadline_despite_a_pending_commit_and_others_at_once() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    let deadline = fixture.now + 4 * SECOND;
    let actions = fixture.revoke(partition(1), RevocationCause::Rebalance, 4 * SECOND);
    assert!(!ends_revocation(&actions), "a batch is in flight");

    let nothing_read = Partition::new("cluster".into(), "purchases".into(), 1, 1);
    let other = fixture.revoke(nothing_read, RevocationCause::Rebalance, 4 * SECOND);
    let ended = other.iter().find_map(|action| match action {
        PipelineAction::EndRevocation(revocation) => Some(revocation.partitions[0].index),
        _ => None,
    });
    assert_eq!(ended, Some(1));

    let actions = fixture.finish(0, 1);
    assert_eq!(committed_offset(&actions), Some(1));
    while fixture.now < deadline {
        let actions = fixture.pass_time(deadline);
        assert_eq!(ends_revocation(&actions), fixture.now == deadline);
    }
}

#[test]
fn lost_partitions_are_neither_drained_nor_committed() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..2);
    fixture.finish(0, 1);
    fixture.committed(1);
    fixture.finish(1, 2);
    let actions = fixture.revoke(partition(1), RevocationCause::Lost, 4 * SECOND);
    assert!(
        ends_revocation(&actions) && abandons(&actions) && committed_offset(&actions).is_none(),
        "{actions:?}"
    );
    fixture.now += SECOND;
    let actions = fixture.handle(PipelineEvent::Time);
    assert_eq!(committed_offset(&actions), None);
}

#[test]
fn failed_commits_of_lost_partitions_are_ignored_unless_they_hang() {
    for hangs in [false, true] {
        let mut fixture = Fixture::new();
        fixture.read(1, 0..1);
        assert_eq!(committed_offset(&fixture.finish(0, 1)), Some(1));
        if hangs {
            fixture.now += 60 * SECOND;
            fixture.handle(PipelineEvent::Time);
        } else {
            fixture.end_commit(1, Err(unavailable()));
        }
        assert!(fixture.status().errors.contains_key(&Component::Commit));
        fixture.revoke(partition(1), RevocationCause::Lost, SECOND);
        let is_failing = fixture.status().errors.contains_key(&Component::Commit);
        assert_eq!(is_failing, hangs);
    }
}

#[test]
fn a_newer_epoch_ends_the_one_before_it() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    let actions = fixture.source(Ok(SourceEvent::Batch(batch(2, 0))));
    assert!(abandons(&actions), "{actions:?}");
    let of_older_epoch = fixture.finish(0, 1);
    assert_eq!(committed_offset(&of_older_epoch), None);
    let actions = fixture.source(Ok(SourceEvent::Batch(batch(1, 1))));
    assert!(actions.is_empty(), "{actions:?}");
    assert_eq!(committed_offset(&fixture.finish(1, 1)), Some(1));
}

#[test]
fn a_revocation_of_a_newer_epoch_does_not_wait_for_the_one_before_it() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..1);
    let actions = fixture.revoke(partition(2), RevocationCause::Rebalance, 4 * SECOND);
    assert!(
        abandons(&actions) && ends_revocation(&actions),
        "nothing was read in epoch 2: {actions:?}"
    );
    let of_older_epoch = fixture.finish(0, 1);
    assert_eq!(committed_offset(&of_older_epoch), None);
}

#[test]
fn an_abandoned_batch_is_not_reported_to_the_observer() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..2);
    let actions = fixture.handle(PipelineEvent::Batch(0, BatchEvent::Finished(None)));
    assert!(actions.is_empty());
    let actions = fixture.finish(1, 2);
    assert!(
        matches!(
            actions[..],
            [PipelineAction::Completed(BatchReport { records: 1, .. })]
        ),
        "{actions:?}"
    );
}

#[test]
fn closing_gets_the_rest_of_the_drain_timeout() {
    for (passes, left) in [(SECOND, 19 * SECOND), (60 * SECOND, MIN_CLOSE)] {
        let mut fixture = Fixture::new();
        fixture.read(1, 0..1);
        assert!(fixture.handle(PipelineEvent::Shutdown).is_empty());
        fixture.now += passes;
        fixture.finish(0, 1);
        let actions = fixture.committed(1);
        let Some(PipelineAction::Close(time)) = actions.last() else {
            panic!("{actions:?}")
        };
        assert_eq!(*time, left);
    }
}

#[test]
fn reading_pauses_after_an_error_and_control_events_do_not() {
    let mut fixture = Fixture::new();
    let begun = fixture.now;
    let error = unavailable().with_retry(Retry::After(30 * SECOND));
    fixture.source(Err(error.clone()));
    assert_eq!(fixture.demand(), EventDemand::Control);
    fixture.source(Err(error));
    assert_eq!(fixture.demand(), EventDemand::Nothing, "not in a circle");
    fixture.pass_time(begun + 60 * SECOND);
    assert_eq!(fixture.demand(), EventDemand::Next);
    assert_eq!(fixture.now, begun + 30 * SECOND);

    assert!(fixture.status().errors.contains_key(&Component::Source));
    fixture.pass_time(begun + 60 * SECOND);
    assert!(
        fixture.status().errors.is_empty(),
        "it is quiet, not failing"
    );
    let max_backoff = IngestOptions::default().max_backoff;
    assert_eq!(fixture.now, begun + 30 * SECOND + max_backoff);
}

#[test]
fn batches_of_a_fenced_epoch_are_ignored() {
    let mut fixture = Fixture::new();
    fixture.read(1, 0..2);
    fixture.finish(0, 1);
    let actions = fixture.end_commit(1, Ok(vec![CommitOutcome::Fenced]));
    assert!(abandons(&actions), "{actions:?}");
    fixture.now += SECOND;
    assert_eq!(committed_offset(&fixture.finish(1, 2)), None);
    let actions = fixture.source(Ok(SourceEvent::Batch(batch(1, 2))));
    assert!(actions.is_empty(), "{actions:?}");
    fixture.read(2, 0..1);
}

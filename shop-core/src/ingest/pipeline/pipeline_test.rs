//! The decisions of the pipeline, event by event.

use super::super::event::BatchState;
use super::super::status::IngestStatus;
use super::*;
use crate::Timestamp;
use crate::log::{CommitOffset, CommitOutcome};

const SECOND: Duration = Duration::from_secs(1);

/// A pipeline, and the time.
struct Fixture {
    pipeline: IngestPipeline,
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

pub(super) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "unavailable on purpose")
}

impl Fixture {
    fn new(options: IngestOptions) -> Self {
        Self {
            pipeline: IngestPipeline::new(options),
            now: Instant::now(),
        }
    }

    fn on(&mut self, event: PipelineEvent) -> Vec<PipelineAction> {
        self.pipeline.handle(event, self.now)
    }

    fn answer(&mut self, answer: SourceEvent) -> Vec<PipelineAction> {
        self.on(PipelineEvent::Source {
            demand: EventDemand::Next,
            result: Ok(answer),
        })
    }

    fn read(&mut self, epoch: u64, offset: u64) {
        let actions = self.answer(SourceEvent::Batch(batch(epoch, offset)));
        assert!(
            matches!(actions[..], [PipelineAction::Start { .. }]),
            "{actions:?}"
        );
    }

    /// Batch `number` has ended.
    fn finish(&mut self, number: u64, state: BatchState) -> Vec<PipelineAction> {
        let outcome = BatchOutcome {
            counters: IngestCounters::default(),
            gap: None,
            state,
            stop: None,
            freshness: None,
        };
        self.on(PipelineEvent::Batch(
            number,
            BatchEvent::Finished(Some(outcome)),
        ))
    }

    fn revoke(
        &mut self,
        epoch: u64,
        cause: RevocationCause,
        timeout: Duration,
    ) -> Vec<PipelineAction> {
        self.answer(SourceEvent::Revoked(Revocation::new(
            vec![partition(epoch)],
            cause,
            timeout,
            || {},
        )))
    }

    fn committed(&mut self, epoch: u64, next: u64) -> Vec<PipelineAction> {
        let offsets = vec![CommitOffset::new(partition(epoch), next)];
        self.on(PipelineEvent::Committed(
            offsets,
            Ok(vec![CommitOutcome::Committed]),
        ))
    }

    /// Time passes until something is due, but not beyond `at`.
    fn time(&mut self, at: Instant) -> Vec<PipelineAction> {
        self.now = self
            .pipeline
            .next_deadline(self.now)
            .map_or(at, |due| due.min(at));
        self.on(PipelineEvent::Time)
    }
}

fn commits(actions: &[PipelineAction]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        PipelineAction::Commit(offsets) => Some(offsets[0].next_offset),
        _ => None,
    })
}

fn abandons(actions: &[PipelineAction]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, PipelineAction::Abandon(_)))
}

fn ends(actions: &[PipelineAction]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, PipelineAction::EndRevocation(_)))
}

#[test]
fn bytes_in_flight_are_bounded() {
    let size = batch(1, 0).size();
    for max_in_flight_bytes in [size + 1, 2 * size] {
        let mut fixture = Fixture::new(IngestOptions {
            max_in_flight_bytes,
            ..IngestOptions::default()
        });
        for offset in 0..2 {
            assert_eq!(
                fixture.pipeline.event_demand(fixture.now),
                EventDemand::Next
            );
            fixture.read(1, offset);
        }
        assert_eq!(
            fixture.pipeline.event_demand(fixture.now),
            EventDemand::Control,
            "the second one fills the budget"
        );
        fixture.finish(0, BatchState::Durable(1));
        assert_eq!(
            fixture.pipeline.event_demand(fixture.now),
            EventDemand::Next
        );
    }
}

#[test]
fn a_closed_source_ends_the_pipeline() {
    for result in [
        Ok(SourceEvent::Closed),
        Err(Error::new(ErrorKind::Closed, "closed")),
    ] {
        let mut fixture = Fixture::new(IngestOptions::default());
        let actions = fixture.on(PipelineEvent::Source {
            demand: EventDemand::Next,
            result,
        });
        assert!(
            matches!(actions[..], [PipelineAction::Close(_)]),
            "{actions:?}"
        );
        assert!(fixture.pipeline.failure.is_none());
    }
}

#[test]
fn the_error_of_a_batch_ends_with_it() {
    let mut fixture = Fixture::new(IngestOptions::default());
    let mut status = IngestStatus::default();
    fixture.read(1, 0);
    fixture.on(PipelineEvent::Batch(
        0,
        BatchEvent::Failed(Component::Store, fixture.now, unavailable()),
    ));
    fixture.pipeline.update_status(&mut status);
    assert!(status.errors.contains_key(&Component::Store));
    fixture.finish(0, BatchState::Durable(1));
    fixture.pipeline.update_status(&mut status);
    assert!(status.errors.is_empty());

    fixture.read(1, 1);
    let topic = partition(1).topic;
    let error = unavailable();
    let stuck = StuckRecord {
        topic,
        partition: 0,
        offset: 1,
        id: None,
        since: fixture.now.into(),
        error,
    };
    fixture.on(PipelineEvent::Batch(1, BatchEvent::Stuck(0, stuck)));
    fixture.pipeline.update_status(&mut status);
    assert!(status.stuck.is_some());
    fixture.finish(1, BatchState::Durable(2));
    fixture.pipeline.update_status(&mut status);
    assert!(status.stuck.is_none());
}

#[test]
fn a_pipeline_without_work_has_no_deadline() {
    let mut fixture = Fixture::new(IngestOptions::default());
    fixture.read(1, 0);
    assert_eq!(commits(&fixture.finish(0, BatchState::Durable(1))), Some(1));
    fixture.committed(1, 1);
    assert_eq!(fixture.pipeline.next_deadline(fixture.now), None);
}

#[test]
fn batches_in_flight_are_bounded() {
    let mut fixture = Fixture::new(IngestOptions {
        max_in_flight_batches: 2,
        ..IngestOptions::default()
    });
    fixture.read(1, 0);
    assert_eq!(
        fixture.pipeline.event_demand(fixture.now),
        EventDemand::Next
    );
    fixture.read(1, 1);
    assert_eq!(
        fixture.pipeline.event_demand(fixture.now),
        EventDemand::Control
    );
}

#[test]
fn a_revocation_and_a_shutdown_do_not_wait_for_the_commit_interval() {
    for is_shutdown in [false, true] {
        let options = IngestOptions {
            commit_interval: 600 * SECOND,
            ..IngestOptions::default()
        };
        let mut fixture = Fixture::new(options);
        (0..3).for_each(|offset| fixture.read(1, offset));
        assert_eq!(commits(&fixture.finish(0, BatchState::Durable(1))), Some(1));
        fixture.committed(1, 1);
        assert_eq!(
            commits(&fixture.finish(1, BatchState::Durable(2))),
            None,
            "within the interval"
        );
        let actions = match is_shutdown {
            true => fixture.on(PipelineEvent::Shutdown),
            false => fixture.revoke(1, RevocationCause::Rebalance, 5 * SECOND),
        };
        assert_eq!(commits(&actions), Some(2));
        fixture.committed(1, 2);
        assert_eq!(
            commits(&fixture.finish(2, BatchState::Durable(3))),
            Some(3),
            "nor does any later commit"
        );
    }
}

#[test]
fn a_revocation_retries_a_failed_commit_at_once() {
    let mut fixture = Fixture::new(IngestOptions::default());
    fixture.read(1, 0);
    fixture.finish(0, BatchState::Durable(1));
    let offsets = vec![CommitOffset::new(partition(1), 1)];
    let failed = fixture.on(PipelineEvent::Committed(offsets, Err(unavailable())));
    assert_eq!(commits(&failed), None, "after a pause");
    assert_eq!(
        commits(&fixture.revoke(1, RevocationCause::Rebalance, 5 * SECOND)),
        Some(1)
    );
}

#[test]
fn the_last_quarter_of_a_drain_is_reserved_for_the_commit() {
    let mut fixture = Fixture::new(IngestOptions::default());
    (0..2).for_each(|offset| fixture.read(1, offset));
    let revoked = fixture.now;
    let deadline = revoked + 4 * SECOND;
    let actions = fixture.revoke(1, RevocationCause::Rebalance, 4 * SECOND);
    assert!(!abandons(&actions) && !ends(&actions));
    assert_eq!(commits(&fixture.finish(0, BatchState::Durable(1))), Some(1));
    let actions = fixture.time(deadline);
    assert_eq!(fixture.now, revoked + 3 * SECOND);
    assert!(
        abandons(&actions) && !ends(&actions),
        "the commit is under way: {actions:?}"
    );
    assert!(
        ends(&fixture.committed(1, 1)),
        "before the rebalance continues without it"
    );
}

#[test]
fn a_revocation_ends_at_its_deadline_despite_a_pending_commit() {
    let mut fixture = Fixture::new(IngestOptions::default());
    fixture.read(1, 0);
    let deadline = fixture.now + 4 * SECOND;
    fixture.finish(0, BatchState::Durable(1));
    assert!(!ends(&fixture.revoke(
        1,
        RevocationCause::Rebalance,
        4 * SECOND
    )));
    let mut is_answered = false;
    while !is_answered && fixture.now < deadline {
        is_answered = ends(&fixture.time(deadline));
    }
    assert!(is_answered && fixture.now == deadline);
}

#[test]
fn lost_partitions_are_neither_drained_nor_committed() {
    let mut fixture = Fixture::new(IngestOptions::default());
    (0..2).for_each(|offset| fixture.read(1, offset));
    fixture.finish(0, BatchState::Durable(1));
    fixture.committed(1, 1);
    fixture.finish(1, BatchState::Durable(2));
    let actions = fixture.revoke(1, RevocationCause::Lost, 4 * SECOND);
    assert!(
        ends(&actions) && abandons(&actions) && commits(&actions).is_none(),
        "{actions:?}"
    );
    fixture.now += SECOND;
    assert_eq!(commits(&fixture.on(PipelineEvent::Time)), None);
}

#[test]
fn failed_commits_of_lost_partitions_are_ignored_unless_they_hang() {
    for hangs in [false, true] {
        let mut fixture = Fixture::new(IngestOptions::default());
        let mut status = IngestStatus::default();
        fixture.read(1, 0);
        assert_eq!(commits(&fixture.finish(0, BatchState::Durable(1))), Some(1));
        if hangs {
            fixture.now += 60 * SECOND;
            fixture.on(PipelineEvent::Time);
        } else {
            let offsets = vec![CommitOffset::new(partition(1), 1)];
            fixture.on(PipelineEvent::Committed(offsets, Err(unavailable())));
        }
        fixture.pipeline.update_status(&mut status);
        assert!(status.errors.contains_key(&Component::Commit));
        fixture.revoke(1, RevocationCause::Lost, SECOND);
        fixture.pipeline.update_status(&mut status);
        assert_eq!(status.errors.contains_key(&Component::Commit), hangs);
    }
}

#[test]
fn a_newer_epoch_ends_the_one_before_it() {
    let mut fixture = Fixture::new(IngestOptions::default());
    fixture.read(1, 0);
    let actions = fixture.answer(SourceEvent::Batch(batch(2, 0)));
    assert!(abandons(&actions), "{actions:?}");
    assert_eq!(
        commits(&fixture.finish(0, BatchState::Durable(1))),
        None,
        "it belongs to the older one"
    );
    assert!(fixture.answer(SourceEvent::Batch(batch(1, 1))).is_empty());
    assert_eq!(commits(&fixture.finish(1, BatchState::Durable(1))), Some(1));
}

#[test]
fn a_revocation_of_a_newer_epoch_does_not_wait_for_the_one_before_it() {
    let mut fixture = Fixture::new(IngestOptions::default());
    fixture.read(1, 0);
    let actions = fixture.revoke(2, RevocationCause::Rebalance, 4 * SECOND);
    assert!(
        abandons(&actions) && ends(&actions),
        "nothing was read in epoch 2: {actions:?}"
    );
    assert_eq!(
        commits(&fixture.finish(0, BatchState::Durable(1))),
        None,
        "it belongs to epoch 1"
    );
}

#[test]
fn an_abandoned_batch_is_not_reported_to_the_observer() {
    let mut fixture = Fixture::new(IngestOptions::default());
    (0..2).for_each(|offset| fixture.read(1, offset));
    assert!(
        fixture
            .on(PipelineEvent::Batch(0, BatchEvent::Finished(None)))
            .is_empty()
    );
    let actions = fixture.finish(1, BatchState::Durable(2));
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
        let mut fixture = Fixture::new(IngestOptions::default());
        fixture.read(1, 0);
        assert!(fixture.on(PipelineEvent::Shutdown).is_empty());
        fixture.now += passes;
        fixture.finish(0, BatchState::Durable(1));
        let actions = fixture.committed(1, 1);
        let Some(PipelineAction::Close(time)) = actions.last() else {
            panic!("{actions:?}")
        };
        assert_eq!(*time, left);
    }
}

#[test]
fn reading_pauses_after_an_error_and_control_events_do_not() {
    let mut fixture = Fixture::new(IngestOptions::default());
    fixture.on(PipelineEvent::Source {
        demand: EventDemand::Next,
        result: Err(unavailable()),
    });
    assert_eq!(
        fixture.pipeline.event_demand(fixture.now),
        EventDemand::Control
    );
    fixture.on(PipelineEvent::Source {
        demand: EventDemand::Control,
        result: Err(unavailable()),
    });
    assert_eq!(
        fixture.pipeline.event_demand(fixture.now),
        EventDemand::Nothing,
        "not in a circle"
    );
    let later = fixture.now + 10 * SECOND;
    fixture.time(later);
    assert_eq!(
        fixture.pipeline.event_demand(fixture.now),
        EventDemand::Next
    );
}

#[test]
fn batches_of_a_fenced_epoch_are_ignored() {
    let mut fixture = Fixture::new(IngestOptions::default());
    (0..2).for_each(|offset| fixture.read(1, offset));
    fixture.finish(0, BatchState::Durable(1));
    let offsets = vec![CommitOffset::new(partition(1), 1)];
    let actions = fixture.on(PipelineEvent::Committed(
        offsets,
        Ok(vec![CommitOutcome::Fenced]),
    ));
    assert!(abandons(&actions), "{actions:?}");
    fixture.now += SECOND;
    assert_eq!(commits(&fixture.finish(1, BatchState::Durable(2))), None);
    assert!(fixture.answer(SourceEvent::Batch(batch(1, 2))).is_empty());
    fixture.read(2, 0);
}

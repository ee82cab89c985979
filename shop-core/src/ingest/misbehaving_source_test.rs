//! The pipeline on a source with forbidden or rare behavior.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fixture::Running;
use super::logged_test::Logged;
use super::{Component, Ingest, IngestOptions, Phase};
use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Gap, GapCause, Lag, LogRecord, LogSource,
    Partition, SourceEvent,
};
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::{ErrorKind, Result, Timestamp};

/// A source whose events a test sends.
#[derive(Debug)]
struct Misbehaving {
    /// The events to return. `None` is a panic.
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Option<SourceEvent>>>,
    commits: Commits,
    /// The requested commits: the epochs and the next offsets.
    requested_commits: Mutex<Vec<(u64, u64)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    Succeed,
    Panic,
    /// So does the close.
    Hang,
}

#[async_trait]
impl LogSource for Misbehaving {
    async fn next(&self) -> Result<SourceEvent> {
        match self.events.lock().await.recv().await {
            Some(event) => Ok(event.expect("a panic on purpose")),
            None => pending().await,
        }
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        pending().await
    }

    async fn commit(&self, offsets: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let requested = offsets
            .iter()
            .map(|offset| (offset.partition.epoch, offset.next_offset));
        self.requested_commits.lock().unwrap().extend(requested);
        match self.commits {
            Commits::Succeed => Ok(vec![CommitOutcome::Committed; offsets.len()]),
            Commits::Panic => panic!("on purpose"),
            Commits::Hang => pending().await,
        }
    }

    async fn lag(&self) -> Result<Lag> {
        unimplemented!("not asked for")
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
        match self.commits {
            Commits::Hang => pending().await,
            _ => Ok(()),
        }
    }
}

/// Sends events to a running source.
type Events = mpsc::UnboundedSender<Option<SourceEvent>>;

fn start(commits: Commits) -> (Events, Running<Misbehaving>) {
    let (sender, events) = mpsc::unbounded_channel();
    let source = Arc::new(Misbehaving {
        events: events.into(),
        commits,
        requested_commits: Mutex::default(),
    });
    let ingest = Ingest::new(
        Arc::clone(&source) as _,
        Arc::new(InMemoryStore::new()),
        Arc::new(InMemoryLog::default()),
        IngestOptions::default(),
    );
    (sender, Running::start(source, ingest))
}

fn partition(epoch: u64) -> Partition {
    Partition::new("cluster".into(), "purchases".into(), 0, epoch)
}

/// The records at `offsets`, in epoch 1.
fn batch(offsets: std::ops::Range<u64>) -> SourceEvent {
    let record = |offset| {
        let value = format!(r#"{{"username":"ada","userid":"u{offset}","price":1}}"#);
        LogRecord::new(offset, Timestamp::MIN, Some(value.into()))
    };
    SourceEvent::Batch(Batch::new(partition(1), offsets.map(record).collect()))
}

fn deleted(epoch: u64, from: u64, to: u64) -> Gap {
    Gap::new(partition(epoch), from, to, GapCause::Deleted)
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_one_error_line_and_is_committed_in_order() {
    let logged = Logged::begin();
    let (events, running) = start(Commits::Succeed);
    let send = |event| events.send(Some(event)).unwrap();
    send(batch(0..2));
    send(SourceEvent::Gap(deleted(1, 2, 5)));
    send(batch(5..6));
    running.has_inserted(3).await;
    // Delivered again after a rebalance, it has grown.
    send(SourceEvent::Gap(deleted(1, 2, 6)));
    running.wait_for(|status| status.counters.lost == 4).await;
    // A truncated log is read again from an earlier offset, in a new epoch.
    let truncated = Gap::new(partition(2), 7, 9, GapCause::Truncated).with_next_offset(1);
    send(SourceEvent::Gap(truncated));
    send(SourceEvent::Gap(deleted(1, 6, 9)));
    let status = running.wait_for(|status| status.counters.lost >= 6).await;
    assert_eq!(
        (status.counters.lost, status.counters.dead_lettered),
        (6, 0),
        "not that of the ended epoch"
    );
    assert_eq!(status.lost, [(("purchases".into(), 0), 6)].into());

    let source = Arc::clone(&running.source);
    running.stop().await;
    let commits = source.requested_commits.lock().unwrap();
    assert_eq!(commits.last(), Some(&(2, 1)), "{commits:?}");
    let lines = logged.lines_with("records lost");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("log.from=2 log.to=5 count=3 "),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_stops_the_pipeline() {
    let (events, running) = start(Commits::Panic);
    events.send(Some(batch(0..2))).unwrap();
    assert_eq!(running.stops_with_error().await.kind(), ErrorKind::Internal);

    let (events, running) = start(Commits::Succeed);
    events.send(None).unwrap();
    let status = running
        .wait_for(|status| status.phase == Phase::Stopped)
        .await;
    assert!(status.fatal_error.is_some());
    assert!(running.task.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_does_not_block_a_shutdown() {
    let (events, running) = start(Commits::Hang);
    events.send(Some(batch(0..2))).unwrap();
    let status = running.has_failed(Component::Commit).await;
    let error = &status.errors[&Component::Commit];
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(status.retries, [].into(), "the commit is not repeated");
    assert!(status.oldest_uncommitted["purchases"].is_some());

    let asked = Instant::now();
    let source = Arc::clone(&running.source);
    running.stop().await;
    let took = asked.elapsed();
    let drain_timeout = IngestOptions::default().drain_timeout;
    assert!(took <= drain_timeout + Duration::from_secs(2), "{took:?}");
    let commits = source.requested_commits.lock().unwrap();
    assert_eq!(*commits, [(1, 2)], "one commit at a time");
}

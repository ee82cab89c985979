//! The pipeline on a source with forbidden or rare behavior.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::logged_test::Logged;
use super::time_limit_test::in_time;
use super::{Component, Ingest, IngestCounters, IngestMonitor, IngestOptions, IngestStatus, Phase};
use crate::log::{
    Batch, CommitOffset, CommitOutcome, ControlEvent, Gap, GapCause, Lag, LogRecord, LogSource,
    Partition, Revocation, RevocationCause, SourceEvent,
};
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::{Error, ErrorKind, Result, Retry, Timestamp};

type Answer<T> = Box<dyn FnOnce() -> Result<T> + Send>;

/// Returns the given events, then stays pending.
struct Misbehaving {
    send: mpsc::UnboundedSender<Answer<SourceEvent>>,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<Answer<SourceEvent>>>,
    /// The control events to return.
    interruptions: tokio::sync::Mutex<VecDeque<Answer<ControlEvent>>>,
    /// The number of requests for control events.
    interruptions_asked: AtomicUsize,
    /// Whether commits and the close hang.
    commits_hang: bool,
    close_hangs: bool,
    /// The results of commits; afterwards all succeed.
    commits: Mutex<VecDeque<Answer<Vec<CommitOutcome>>>>,
    /// The requested commits.
    asked: Mutex<Vec<(u64, u64)>>,
}

impl std::fmt::Debug for Misbehaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Misbehaving").finish_non_exhaustive()
    }
}

#[async_trait]
impl LogSource for Misbehaving {
    async fn next(&self) -> Result<SourceEvent> {
        match self.events.lock().await.recv().await {
            Some(event) => event(),
            None => pending().await,
        }
    }

    async fn next_control(&self) -> Result<ControlEvent> {
        self.interruptions_asked.fetch_add(1, Ordering::Relaxed);
        match self.interruptions.lock().await.pop_front() {
            Some(interruption) => interruption(),
            None => pending().await,
        }
    }

    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>> {
        let asked = positions
            .iter()
            .map(|position| (position.partition.epoch, position.next_offset));
        self.asked.lock().unwrap().extend(asked);
        if self.commits_hang {
            pending::<()>().await;
        }
        let answer = self.commits.lock().unwrap().pop_front();
        answer.map_or_else(
            || Ok(vec![CommitOutcome::Committed; positions.len()]),
            |answer| answer(),
        )
    }

    async fn lag(&self) -> Result<Lag> {
        Err(Error::new(ErrorKind::Unsupported, "not asked for"))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
        if self.close_hangs {
            pending::<()>().await;
        }
        Ok(())
    }
}

impl Misbehaving {
    fn new() -> Self {
        let (send, events) = mpsc::unbounded_channel();
        Self {
            send,
            events: events.into(),
            interruptions: VecDeque::new().into(),
            interruptions_asked: AtomicUsize::new(0),
            commits_hang: false,
            close_hangs: false,
            commits: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    fn send(&self, event: impl FnOnce() -> Result<SourceEvent> + Send + 'static) {
        self.send
            .send(Box::new(event))
            .unwrap_or_else(|_gone| panic!("it has ended"));
    }

    fn with_event(self, event: impl FnOnce() -> Result<SourceEvent> + Send + 'static) -> Self {
        self.send(event);
        self
    }

    /// Delivers the records at `offsets`.
    fn with_batch(self, epoch: u64, offsets: std::ops::Range<u64>) -> Self {
        self.with_event(move || Ok(SourceEvent::Batch(batch(epoch, offsets))))
    }

    fn with_control(
        mut self,
        with: impl FnOnce() -> Result<ControlEvent> + Send + 'static,
    ) -> Self {
        self.interruptions.get_mut().push_back(Box::new(with));
        self
    }

    fn with_commit_result(
        self,
        answer: impl FnOnce() -> Result<Vec<CommitOutcome>> + Send + 'static,
    ) -> Self {
        self.commits.lock().unwrap().push_back(Box::new(answer));
        self
    }

    fn start(self) -> Running {
        let source = Arc::new(self);
        let store = InMemoryStore::new();
        let dead_letters = Arc::new(InMemoryLog::default().dead_letters());
        let options = IngestOptions {
            jitter_seed: Some(1),
            ..IngestOptions::default()
        };
        let ingest = Ingest::new(
            Arc::clone(&source) as _,
            Arc::new(store),
            dead_letters,
            options,
        );
        let monitor = ingest.monitor();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(ingest.run(async move { drop(stopped.await) }));
        Running {
            source,
            monitor,
            stop,
            task,
        }
    }
}

struct Running {
    source: Arc<Misbehaving>,
    monitor: IngestMonitor,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<IngestCounters>>,
}

impl Running {
    async fn has_inserted(&self, count: u64) {
        self.monitor
            .wait_for(|status| status.counters.inserted >= count)
            .await;
    }

    async fn stop(self) -> Vec<(u64, u64)> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.source.asked.lock().unwrap().clone()
    }

    async fn fails(self) -> Error {
        let error = self.task.await.unwrap().unwrap_err();
        let status = self.monitor.status();
        assert!(
            status.phase == Phase::Stopped && status.fatal_error.is_some(),
            "{status:?}"
        );
        error
    }
}

fn partition(epoch: u64) -> Partition {
    Partition::new("cluster".into(), "purchases".into(), 0, epoch)
}

fn batch(epoch: u64, offsets: std::ops::Range<u64>) -> Batch {
    let record = |offset| {
        let value = format!(r#"{{"username":"ada","userid":"u{offset}","price":1}}"#);
        LogRecord::new(
            offset,
            Timestamp::from_millis(1).unwrap(),
            Some(value.into()),
        )
    };
    Batch::new(partition(epoch), offsets.map(record).collect())
}

fn unavailable(retry: Retry) -> Error {
    Error::new(ErrorKind::Unavailable, "unavailable").with_retry(retry)
}

#[tokio::test(start_paused = true)]
async fn an_empty_batch_moves_nothing() {
    let _running = in_time();
    let running = Misbehaving::new()
        .with_batch(1, 0..0)
        .with_batch(1, 7..9)
        .start();
    running.has_inserted(2).await;
    assert_eq!(running.stop().await, [(1, 9)]);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_unread_record_has_its_timestamp_until_it_is_committed() {
    let _running = in_time();
    let mut source = Misbehaving::new().with_batch(1, 0..2);
    source.commits_hang = true;
    let running = source.start();
    let time = Timestamp::from_millis(1).unwrap();
    let is_unread = |status: &IngestStatus| {
        status.oldest_unread.get("purchases").copied().flatten() == Some(time)
    };
    running
        .monitor
        .wait_for(|status| status.counters.inserted == 2 && is_unread(status))
        .await;
    let running = Misbehaving::new().with_batch(1, 0..2).start();
    running.has_inserted(2).await;
    let is_known = |status: &IngestStatus| status.oldest_unread.get("purchases") == Some(&None);
    running.monitor.wait_for(is_known).await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_one_error_line_and_is_committed_in_order() {
    let logged = Logged::begin();
    let gap = |epoch, from, to| Gap::new(partition(epoch), from, to, GapCause::Deleted);
    let _running = in_time();
    let running = Misbehaving::new().with_batch(1, 0..2).start();
    running.has_inserted(2).await;
    let source = Arc::clone(&running.source);
    source.send(move || Ok(SourceEvent::Gap(gap(1, 2, 5))));
    source.send(|| Ok(SourceEvent::Batch(batch(1, 5..6))));
    running.has_inserted(3).await;
    // Delivered again after a rebalance, it has grown.
    source.send(move || Ok(SourceEvent::Gap(gap(1, 2, 6))));
    running
        .monitor
        .wait_for(|status| status.counters.lost == 4)
        .await;
    // A truncated log is read again from an earlier offset, in a new epoch.
    let truncated = Gap::new(partition(2), 7, 9, GapCause::Truncated).with_next_offset(1);
    source.send(move || Ok(SourceEvent::Gap(truncated)));
    source.send(move || Ok(SourceEvent::Gap(gap(1, 6, 9))));
    running
        .monitor
        .wait_for(|status| status.counters.lost >= 6)
        .await;
    let status = running.monitor.status();
    assert_eq!(
        (status.counters.lost, status.counters.dead_lettered),
        (6, 0),
        "not that of the ended epoch"
    );
    assert_eq!(
        status.lost.into_iter().collect::<Vec<_>>(),
        [(("purchases".into(), 0), 6)]
    );
    let commits = running.stop().await;
    assert_eq!(commits.last(), Some(&(2, 1)), "{commits:?}");
    let lines = logged.lines_with("records lost");
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("log.from=2 log.to=5 count=3 "),
        "{lines:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_an_outcome_for_each_position_stops_the_pipeline() {
    let _running = in_time();
    let running = Misbehaving::new()
        .with_batch(1, 0..2)
        .with_commit_result(|| Ok(Vec::new()))
        .start();
    let source = Arc::clone(&running.source);
    assert_eq!(running.fails().await.kind(), ErrorKind::Internal);
    assert!(
        source.asked.lock().unwrap().len() <= 2,
        "at most one retry, at the shutdown"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_stops_the_pipeline() {
    let _running = in_time();
    let running = Misbehaving::new()
        .with_batch(1, 0..2)
        .with_commit_result(|| panic!("on purpose"))
        .start();
    assert_eq!(running.fails().await.kind(), ErrorKind::Internal);

    let running = Misbehaving::new()
        .with_event(|| panic!("on purpose"))
        .start();
    let status = running
        .monitor
        .wait_for(|status| status.phase == Phase::Stopped)
        .await;
    assert!(status.fatal_error.is_some() && running.task.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_an_error_is_respected() {
    let _running = in_time();
    const PAUSE: Duration = Duration::from_secs(30);
    let begun = Instant::now();
    let running = Misbehaving::new()
        .with_event(|| Err(unavailable(Retry::After(PAUSE))))
        .with_batch(1, 0..2)
        .with_commit_result(|| Err(unavailable(Retry::After(PAUSE))))
        .start();
    running.has_inserted(2).await;
    assert!(begun.elapsed() >= PAUSE, "reading: {:?}", begun.elapsed());
    running
        .monitor
        .wait_for(|status| !status.errors.is_empty())
        .await;
    running
        .monitor
        .wait_for(|status| status.errors.is_empty())
        .await;
    assert!(
        begun.elapsed() >= 2 * PAUSE,
        "committing: {:?}",
        begun.elapsed()
    );
    assert_eq!(running.stop().await, [(1, 2), (1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_source_is_healthy_again_after_an_error() {
    let _running = in_time();
    let running = Misbehaving::new()
        .with_event(|| Err(unavailable(Retry::Safe)))
        .start();
    running
        .monitor
        .wait_for(|status| !status.errors.is_empty())
        .await;
    running
        .monitor
        .wait_for(|status| status.errors.is_empty())
        .await;
    assert_eq!(running.stop().await, []);
}

/// Longer than any wait in these tests.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn revocations_are_received_during_a_backoff() {
    let _running = in_time();
    const GRACE: Duration = Duration::from_secs(3);
    let (end, ended) = oneshot::channel();
    let revocation = move || {
        let done = move || end.send(()).unwrap();
        let partitions = vec![partition(1)];
        Ok(ControlEvent::Revoked(Revocation::new(
            partitions,
            RevocationCause::Rebalance,
            GRACE,
            done,
        )))
    };
    let source = Misbehaving::new()
        .with_batch(1, 0..2)
        .with_event(|| Err(unavailable(Retry::After(LONG))))
        .with_control(revocation);
    let begun = Instant::now();
    let running = source.start();
    ended.await.unwrap();
    assert!(begun.elapsed() <= GRACE, "{:?}", begun.elapsed());
    assert!(
        running
            .monitor
            .status()
            .errors
            .contains_key(&Component::Source),
        "a revocation is no batch"
    );
    assert_eq!(
        running.stop().await,
        [(1, 2)],
        "read records are committed before the partition is given up"
    );
}

#[tokio::test(start_paused = true)]
async fn simultaneous_revocations_end_independently() {
    let _running = in_time();
    let (ended, mut order) = mpsc::unbounded_channel();
    let revoked = |index| {
        let ended = ended.clone();
        let partitions = vec![Partition::new(
            "cluster".into(),
            "purchases".into(),
            index,
            1,
        )];
        let done = move || ended.send(index).unwrap();
        move || {
            Ok(SourceEvent::Revoked(Revocation::new(
                partitions,
                RevocationCause::Rebalance,
                LONG,
                done,
            )))
        }
    };
    // The first one waits for a commit that hangs. Nothing was read of the second one.
    let source = Misbehaving {
        commits_hang: true,
        ..Misbehaving::new()
    };
    let _running = source
        .with_batch(1, 0..2)
        .with_event(revoked(0))
        .with_event(revoked(1))
        .start();
    assert_eq!((order.recv().await, order.recv().await), (Some(1), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_failing_next_control_is_retried_with_backoff() {
    let _running = in_time();
    let source = Misbehaving::new().with_event(|| Err(unavailable(Retry::After(LONG))));
    let source = (0..1_000).fold(source, |source, _| {
        source.with_control(|| Err(unavailable(Retry::Safe)))
    });
    let begun = Instant::now();
    let running = source.with_batch(1, 0..2).start();
    running.has_inserted(2).await;
    let asked = running.source.interruptions_asked.load(Ordering::Relaxed);
    assert!(
        asked as u64 <= begun.elapsed().as_secs() + 10,
        "{asked} times in {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_hanging_close_does_not_block_the_shutdown() {
    let _running = in_time();
    let running = Misbehaving {
        close_hangs: true,
        ..Misbehaving::new()
    }
    .with_batch(1, 0..2)
    .start();
    running.has_inserted(2).await;
    let asked = Instant::now();
    let stopped = tokio::time::timeout(LONG, running.stop())
        .await
        .expect("it ends");
    assert_eq!(stopped, [(1, 2)]);
    assert!(asked.elapsed() <= IngestOptions::default().drain_timeout + Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_commit_is_reported() {
    let _running = in_time();
    let running = Misbehaving {
        commits_hang: true,
        ..Misbehaving::new()
    }
    .with_batch(1, 0..2)
    .start();
    let failing = running
        .monitor
        .wait_for(|status| status.errors.contains_key(&Component::Commit));
    let status = tokio::time::timeout(LONG, failing)
        .await
        .expect("a reported failure");
    assert_eq!(
        status.errors[&Component::Commit].kind(),
        ErrorKind::DeadlineExceeded
    );
    assert_eq!(
        status.retries.get(&Component::Commit),
        None,
        "the commit is not repeated"
    );
    assert!(status.oldest_uncommitted["purchases"].is_some());
    let asked = Instant::now();
    assert_eq!(running.stop().await, [(1, 2)], "one commit at a time");
    assert!(asked.elapsed() <= IngestOptions::default().drain_timeout);
}

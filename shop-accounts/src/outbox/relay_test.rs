//! A relay under faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use shop_core::log::{
    DeadLetter, DeadLetterState, Log, LogInfo, LogRecord, LogScan, LogSource, Offsets, RecordType,
    Resolution, ScanEnd,
};
use shop_core::memory::InMemoryLog;
use shop_core::{Bytes, Error, ErrorKind, Result, Timestamp};
use tokio::time::Instant;

use super::{Backlog, Outbox, OutboxEntry, Relay, RelayOptions};
use crate::memory::InMemoryOutbox;

fn record(key: &'static str, value: &'static str) -> LogRecord {
    let value = Bytes::from_static(value.as_bytes());
    let record = LogRecord::new(0, Timestamp::MIN, Some(value));
    record.with_key(Some(Bytes::from_static(key.as_bytes())))
}

fn outbox_with(events: &[(&'static str, &'static str)]) -> InMemoryOutbox {
    let outbox = InMemoryOutbox::default();
    for (key, value) in events {
        outbox.write(record(key, value));
    }
    outbox
}

fn value_of(record: &LogRecord) -> String {
    String::from_utf8_lossy(record.value.as_ref().unwrap()).into_owned()
}

/// Counts down. Returns `None` at zero.
fn one_less(count: &AtomicUsize) -> Option<usize> {
    let less = |left: usize| left.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .ok()
}

/// A log that keeps the values of the records that it acknowledges.
#[derive(Debug, Default)]
struct TestLog {
    /// The duration of an append.
    append_time: Duration,
    /// The value whose first appends fail, and how many of them.
    failing_value: &'static str,
    failures: AtomicUsize,
    /// The value whose appends panic.
    panicking_value: &'static str,
    kept: Mutex<Vec<String>>,
    /// The log that makes the calls which the relay does not make.
    other_calls: InMemoryLog,
}

impl TestLog {
    fn kept(&self) -> Vec<String> {
        self.kept.lock().unwrap().clone()
    }
}

#[async_trait]
impl Log for TestLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        tokio::time::sleep(self.append_time).await;
        let value = value_of(&record);
        assert!(value != self.panicking_value, "on purpose");
        if value == self.failing_value && one_less(&self.failures).is_some() {
            return Err(Error::new(ErrorKind::Unavailable, "unavailable"));
        }
        self.kept.lock().unwrap().push(value);
        Ok(())
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Log::source(&self.other_calls, group)
    }

    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        self.other_calls.scan(start, end).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.other_calls.positions(group).await
    }

    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        self.other_calls.put_dead_letters(dead_letters).await
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.other_calls.scan_dead_letters().await
    }

    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.other_calls
            .resolve(dead_letters, record_type, resolution)
            .await
    }

    async fn check(&self) -> Result<()> {
        self.other_calls.check().await
    }

    fn info(&self) -> LogInfo<'_> {
        self.other_calls.info()
    }
}

fn relay(outbox: impl Outbox, log: &Arc<TestLog>, options: RelayOptions) -> Relay {
    Relay::new(Arc::new(outbox), Arc::clone(log) as _, options)
}

/// Runs `relay` until `is_done`, on paused time.
async fn run_until(relay: Relay, is_done: impl Fn() -> bool + Send + Sync) {
    let done = async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let run = tokio::time::timeout(Duration::from_secs(600), relay.run(done));
    run.await.expect("all events are published");
}

#[tokio::test(start_paused = true)]
async fn a_failing_or_panicking_append_blocks_only_its_key() {
    let outbox = outbox_with(&[
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("c", "bad"),
        ("b", "b2"),
        ("a", "a3"),
        ("c", "c2"),
    ]);
    let log = Arc::new(TestLog {
        append_time: Duration::from_secs(1),
        failing_value: "a1",
        failures: 5.into(),
        panicking_value: "bad",
        ..TestLog::default()
    });
    let relay = relay(outbox.clone(), &log, RelayOptions::default());
    let monitor = relay.monitor();
    let an_hour = tokio::time::sleep(Duration::from_secs(3_600));
    relay.run(an_hour).await;
    assert_eq!(log.kept(), ["b1", "b2", "a1", "a2", "a3"]);
    assert!(monitor.status().last_error.is_some());
    let pending = outbox.pending(9).await.unwrap();
    let pending = pending.iter().map(|entry| value_of(&entry.record));
    assert!(pending.eq(["bad", "c2"]), "the order per key is kept");
}

#[tokio::test(start_paused = true)]
async fn only_a_round_that_publishes_nothing_waits_before_the_next() {
    let pause = Duration::from_secs(1);
    for (others, failures) in [(&["b", "c", "d", "e"][..], usize::MAX), (&[], 1)] {
        let outbox = outbox_with(&[("a", "a")]);
        others.iter().for_each(|key| outbox.write(record(key, key)));
        let log = Arc::new(TestLog {
            failing_value: "a",
            failures: failures.into(),
            ..TestLog::default()
        });
        let options = RelayOptions {
            batch_size: 2,
            initial_backoff: pause,
            poll_interval: 1_000 * pause,
            ..RelayOptions::default()
        };
        let begun = Instant::now();
        run_until(relay(outbox, &log, options), || {
            log.kept().len() == others.len().max(1)
        })
        .await;
        let has_paused = begun.elapsed() >= pause;
        assert_eq!(has_paused, others.is_empty(), "{:?}", begun.elapsed());
    }
}

/// An outbox with faults.
#[derive(Debug, Default)]
struct FaultyOutbox {
    outbox: InMemoryOutbox,
    /// The number of failures of `pending`, every other one a panic.
    failures: AtomicUsize,
    /// The number of calls of `delete` without a visible effect.
    unforgetful: AtomicUsize,
    /// Shows one entry at a time, always with the same id, and panics instead of waiting.
    reuses_id: bool,
}

#[async_trait]
impl Outbox for FaultyOutbox {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        match one_less(&self.failures) {
            None => {}
            Some(left) if left % 2 == 0 => panic!("on purpose"),
            Some(_) => return Err(Error::new(ErrorKind::Unavailable, "unavailable")),
        }
        if !self.reuses_id {
            return self.outbox.pending(limit).await;
        }
        let first = self.outbox.pending(1).await?.into_iter();
        let with_reused_id = first.map(|entry| {
            let time = Timestamp::from_millis(entry.id).unwrap();
            OutboxEntry::new(1, time, entry.record)
        });
        Ok(with_reused_id.collect())
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        if one_less(&self.unforgetful).is_some() {
            return Ok(());
        }
        if self.reuses_id {
            let first = self.outbox.pending(1).await?;
            return self.outbox.delete(&[first[0].id]).await;
        }
        self.outbox.delete(ids).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.outbox.backlog().await
    }

    /// Writes of other processes give no notification.
    async fn wait_for_entries(&self) {
        assert!(!self.reuses_id, "on purpose");
        std::future::pending::<()>().await;
    }
}

#[tokio::test(start_paused = true)]
async fn entries_without_a_notification_are_found_by_polling_and_published_once() {
    let outbox = outbox_with(&[("a", "a1"), ("a", "a2"), ("b", "b1")]);
    let faulty = FaultyOutbox {
        outbox: outbox.clone(),
        failures: 4.into(),
        unforgetful: 5.into(),
        ..FaultyOutbox::default()
    };
    let log = Arc::new(TestLog::default());
    let relay = relay(faulty, &log, RelayOptions::default());
    let monitor = relay.monitor();
    let looks = AtomicUsize::new(0);
    // Twenty times the polling interval.
    run_until(relay, || {
        let count = looks.fetch_add(1, Ordering::SeqCst);
        if count == 1_000 {
            outbox.write(record("a", "a3"));
        }
        count == 2_000
    })
    .await;
    assert_eq!(log.kept(), ["a1", "a2", "b1", "a3"]);
    assert_eq!(monitor.status().published, 4);
    assert_eq!(outbox.pending(9).await.unwrap(), []);
    assert!(monitor.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_between_two_appends() {
    let second = Duration::from_secs(1);
    let outbox = outbox_with(&[("a", "a1"); 1_500]);
    let log = Arc::new(TestLog {
        append_time: second,
        ..TestLog::default()
    });
    let begun = Instant::now();
    relay(outbox.clone(), &log, RelayOptions::default())
        .run(tokio::time::sleep(second))
        .await;
    let limit = second + RelayOptions::default().drain_timeout + second;
    assert!(begun.elapsed() <= limit, "{:?}", begun.elapsed());
    let published = log.kept().len() as u64;
    assert!(
        published >= 5,
        "it publishes until the timeout: {published}"
    );
    let entries = outbox.backlog().await.unwrap().entries;
    assert_eq!(entries, 1_500 - published, "published entries are deleted");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_publishes_what_is_pending() {
    let outbox = outbox_with(&[("a", "0"), ("a", "1")]);
    let log = Arc::new(TestLog {
        append_time: Duration::from_secs(1),
        ..TestLog::default()
    });
    let options = RelayOptions {
        batch_size: 1,
        ..RelayOptions::default()
    };
    let relay = relay(outbox, &log, options);
    let monitor = relay.monitor();
    assert_eq!(monitor.backlog().await.unwrap().entries, 2);
    relay.run(std::future::ready(())).await;
    assert_eq!(log.kept(), ["0", "1"]);
    let error = monitor.backlog().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_event_with_a_reused_id_is_not_lost_and_a_wait_may_panic() {
    // Even one with the same content.
    let values = ["0", "1", "1", "2", "3"];
    let faulty = FaultyOutbox {
        outbox: outbox_with(&values.map(|value| ("a", value))),
        reuses_id: true,
        ..FaultyOutbox::default()
    };
    let log = Arc::new(TestLog::default());
    let relay = relay(faulty, &log, RelayOptions::default());
    run_until(relay, || log.kept().len() == values.len()).await;
    assert_eq!(log.kept(), values);
}

//! A relay under faults.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::log::{LogRecord, LogWriter};
use shop_core::{Bytes, Error, ErrorKind, Result, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Backlog, Outbox, OutboxEntry, Relay, RelayOptions};
use crate::memory::InMemoryOutbox;

fn record(key: &'static str, value: &'static str) -> LogRecord {
    LogRecord::new(
        0,
        Timestamp::MIN,
        Some(Bytes::from_static(value.as_bytes())),
    )
    .with_key(Some(Bytes::from_static(key.as_bytes())))
}

fn text(bytes: Option<&Bytes>) -> String {
    String::from_utf8_lossy(bytes.unwrap()).into_owned()
}

/// Fails the first appends of one value, and records what it acknowledges.
#[derive(Debug, Default)]
struct Unwilling {
    value: &'static str,
    failures: AtomicUsize,
    kept: Mutex<Vec<String>>,
}

#[async_trait]
impl LogWriter for Unwilling {
    async fn append(&self, record: LogRecord) -> Result<()> {
        let value = text(record.value.as_ref());
        let fails = value == self.value
            && self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        if fails {
            return Err(Error::new(ErrorKind::Unavailable, "unavailable"));
        }
        self.kept.lock().unwrap().push(value);
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
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
async fn a_failing_event_blocks_only_its_key() {
    let outbox = InMemoryOutbox::default();
    for (key, value) in [
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("b", "b2"),
        ("a", "a3"),
    ] {
        outbox.write(record(key, value));
    }
    let log = Arc::new(Unwilling {
        value: "a1",
        failures: 5.into(),
        ..Unwilling::default()
    });
    let kept = || log.kept.lock().unwrap().clone();
    let relay = Relay::new(
        Arc::new(outbox.clone()),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    run_until(relay, || kept().len() == 5).await;
    let kept = kept();
    // a1 has failed five times before.
    let of = |key: &str| {
        kept.iter()
            .filter(|value| value.starts_with(key))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("a"), of("b")),
        (
            vec!["a1".into(), "a2".into(), "a3".into()],
            vec!["b1".into(), "b2".into()]
        )
    );
    assert_eq!(kept[..2], ["b1", "b2"], "other keys do not wait for a1");
    assert_eq!(outbox.backlog().await.unwrap().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn only_a_round_that_publishes_nothing_waits_before_the_next() {
    let pause = Duration::from_secs(1);
    let initial_backoff = pause;
    let poll_interval = 1_000 * pause;
    for (others, failures) in [(&["b", "c", "d", "e"][..], usize::MAX), (&[], 1)] {
        let outbox = InMemoryOutbox::default();
        outbox.write(record("a", "a"));
        others.iter().for_each(|key| outbox.write(record(key, key)));
        let log = Arc::new(Unwilling {
            value: "a",
            failures: failures.into(),
            ..Unwilling::default()
        });
        let options = RelayOptions {
            batch_size: 2,
            initial_backoff,
            poll_interval,
            ..RelayOptions::default()
        };
        let begun = Instant::now();
        let relay = Relay::new(Arc::new(outbox), Arc::clone(&log) as _, options);
        run_until(relay, || {
            log.kept.lock().unwrap().len() == others.len().max(1)
        })
        .await;
        assert_eq!(
            begun.elapsed() < pause,
            !others.is_empty(),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// An outbox with faults.
#[derive(Debug, Default)]
struct Odd {
    outbox: InMemoryOutbox,
    /// The number of failures of `pending`, every other one a panic.
    failures: AtomicUsize,
    /// The number of calls of `delete` without a visible effect.
    unforgetful: AtomicUsize,
}

fn one_less(count: &AtomicUsize) -> Option<usize> {
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .ok()
}

#[async_trait]
impl Outbox for Odd {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        match one_less(&self.failures) {
            None => self.outbox.pending(limit).await,
            Some(left) if left % 2 == 0 => panic!("on purpose"),
            Some(_) => Err(Error::new(ErrorKind::Unavailable, "unavailable")),
        }
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        match one_less(&self.unforgetful) {
            None => self.outbox.delete(ids).await,
            Some(_) => Ok(()),
        }
    }

    async fn backlog(&self) -> Result<Backlog> {
        self.outbox.backlog().await
    }

    /// Writes of other processes give no notification.
    async fn wait_for_entries(&self) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test(start_paused = true)]
async fn entries_without_a_notification_are_found_by_polling() {
    let odd = Odd {
        failures: 4.into(),
        ..Odd::default()
    };
    let log = Arc::new(Unwilling::default());
    let outbox = odd.outbox.clone();
    let relay = Relay::new(
        Arc::new(odd),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    let monitor = relay.monitor();
    let writing = outbox.clone();
    let seen = monitor.clone();
    let written = AtomicUsize::new(0);
    run_until(relay, move || {
        if written.fetch_add(1, Ordering::SeqCst) == 1_000 {
            writing.write(record("a", "a1"));
        }
        seen.status().published == 1
    })
    .await;
    assert_eq!(outbox.pending(9).await.unwrap(), []);
    assert!(monitor.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn acknowledged_entries_are_not_published_again() {
    let odd = Odd {
        unforgetful: 5.into(),
        ..Odd::default()
    };
    let log = Arc::new(Unwilling::default());
    let outbox = odd.outbox.clone();
    for (key, value) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        outbox.write(record(key, value));
    }
    let relay = Relay::new(
        Arc::new(odd),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    let looks = AtomicUsize::new(0);
    // Ten times the polling interval.
    run_until(relay, || looks.fetch_add(1, Ordering::SeqCst) == 1_000).await;
    assert_eq!(*log.kept.lock().unwrap(), ["a1", "a2", "b1"]);
    assert_eq!(outbox.pending(9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn undeleted_entries_are_published_again_after_a_restart() {
    let odd = Odd {
        unforgetful: usize::MAX.into(),
        ..Odd::default()
    };
    let log = Arc::new(Unwilling::default());
    let outbox = odd.outbox.clone();
    outbox.write(record("a", "a1"));
    let relays: [Arc<dyn Outbox>; 2] = [Arc::new(odd), Arc::new(outbox.clone())];
    for outbox in relays {
        let relay = Relay::new(outbox, Arc::clone(&log) as _, RelayOptions::default());
        let monitor = relay.monitor();
        run_until(relay, || monitor.status().published == 1).await;
    }
    assert_eq!(*log.kept.lock().unwrap(), ["a1", "a1"]);
    assert_eq!(outbox.pending(9).await.unwrap(), []);
}

/// Takes a second per append, and panics for one value.
#[derive(Debug, Default)]
struct Slow {
    panics_over: &'static str,
    kept: Mutex<Vec<String>>,
}

#[async_trait]
impl LogWriter for Slow {
    async fn append(&self, record: LogRecord) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let value = text(record.value.as_ref());
        assert!(value != self.panics_over, "on purpose");
        self.kept.lock().unwrap().push(value);
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_append_duplicates_no_other_event() {
    let outbox = InMemoryOutbox::default();
    for (key, value) in [("a", "a1"), ("b", "bad"), ("c", "c1"), ("b", "b2")] {
        outbox.write(record(key, value));
    }
    let log = Arc::new(Slow {
        panics_over: "bad",
        ..Slow::default()
    });
    let relay = Relay::new(
        Arc::new(outbox.clone()),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    let monitor = relay.monitor();
    relay
        .run(tokio::time::sleep(Duration::from_secs(3_600)))
        .await;
    assert_eq!(*log.kept.lock().unwrap(), ["a1", "c1"]);
    assert!(monitor.status().last_error.is_some());
    let waits: Vec<_> = outbox.pending(9).await.unwrap();
    let waits: Vec<_> = waits
        .iter()
        .map(|entry| text(entry.record.value.as_ref()))
        .collect();
    assert_eq!(waits, ["bad", "b2"], "the order per key is kept");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_between_two_appends() {
    let outbox = InMemoryOutbox::default();
    (0..1_500).for_each(|_| outbox.write(record("a", "a1")));
    let log = Arc::new(Slow::default());
    let relay = Relay::new(
        Arc::new(outbox.clone()),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    let begun = Instant::now();
    relay.run(tokio::time::sleep(Duration::from_secs(1))).await;
    let limit =
        Duration::from_secs(1) + RelayOptions::default().drain_timeout + Duration::from_secs(1);
    assert!(begun.elapsed() <= limit, "{:?}", begun.elapsed());
    let published = log.kept.lock().unwrap().len() as u64;
    assert!(
        published >= 5,
        "it publishes until the timeout: {published}"
    );
    assert_eq!(
        outbox.backlog().await.unwrap().entries,
        1_500 - published,
        "published entries are deleted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_publishes_what_is_pending() {
    let outbox = InMemoryOutbox::default();
    ["0", "1"]
        .into_iter()
        .for_each(|value| outbox.write(record("a", value)));
    let log = Arc::new(Slow::default());
    let options = RelayOptions {
        batch_size: 1,
        ..RelayOptions::default()
    };
    let relay = Relay::new(Arc::new(outbox), Arc::clone(&log) as _, options);
    let monitor = relay.monitor();
    assert_eq!(monitor.backlog().await.unwrap().entries, 2);
    relay.run(std::future::ready(())).await;
    assert_eq!(*log.kept.lock().unwrap(), ["0", "1"]);
    assert_eq!(
        monitor.backlog().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

/// Assigns the highest existing id plus one, and gets a write after each delete.
#[derive(Debug, Default)]
struct Reusing {
    entries: Mutex<BTreeMap<i64, OutboxEntry>>,
    next: Mutex<VecDeque<LogRecord>>,
    written: AtomicUsize,
    changed: Notify,
    /// Whether `wait_for_entries` panics.
    panics: bool,
}

impl Reusing {
    fn write(&self, record: LogRecord) {
        let mut entries = self.entries.lock().unwrap();
        let id = entries.last_key_value().map_or(0, |(id, _)| *id) + 1;
        let written = self.written.fetch_add(1, Ordering::SeqCst);
        let time = Timestamp::from_millis(i64::try_from(written).unwrap()).unwrap();
        entries.insert(id, OutboxEntry::new(id, time, record));
        self.changed.notify_one();
    }
}

#[async_trait]
impl Outbox for Reusing {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        Ok(self
            .entries
            .lock()
            .unwrap()
            .values()
            .take(limit)
            .cloned()
            .collect())
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.entries
            .lock()
            .unwrap()
            .retain(|id, _| !ids.contains(id));
        if let Some(next) = self.next.lock().unwrap().pop_front() {
            self.write(next);
        }
        Ok(())
    }

    async fn backlog(&self) -> Result<Backlog> {
        let entries = self.entries.lock().unwrap();
        let oldest = entries.values().next().map(|entry| entry.time);
        Ok(Backlog::new(entries.len() as u64, oldest))
    }

    async fn wait_for_entries(&self) {
        assert!(!self.panics, "on purpose");
        self.changed.notified().await;
    }
}

/// Runs a relay until it has published `count` events. Returns their values.
async fn relayed(outbox: Reusing, count: usize) -> Vec<String> {
    let log = Arc::new(Unwilling::default());
    let relay = Relay::new(
        Arc::new(outbox),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    let is_done = || log.kept.lock().unwrap().len() >= count;
    run_until(relay, is_done).await;
    log.kept.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn an_event_with_a_reused_id_is_not_lost() {
    let outbox = Reusing::default();
    outbox.write(record("a", "0"));
    let values = ["1", "1", "2", "3"];
    outbox
        .next
        .lock()
        .unwrap()
        .extend(values.map(|value| record("a", value)));
    assert_eq!(
        relayed(outbox, 5).await,
        ["0", "1", "1", "2", "3"],
        "even one with the same content"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_panics_does_not_end_the_relay() {
    let outbox = Reusing {
        panics: true,
        ..Reusing::default()
    };
    outbox.write(record("a", "0"));
    outbox
        .next
        .lock()
        .unwrap()
        .extend(["1", "2"].map(|value| record("a", value)));
    assert_eq!(relayed(outbox, 3).await, ["0", "1", "2"]);
}

//! What a relay does when things go wrong.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{Outbox, Relay, RelayOptions};
use crate::memory::InMemoryOutbox;
use crate::ports::RecordSink;
use crate::record::LogRecord;
use crate::{Bytes, Error, ErrorKind, Result, Timestamp};

fn record(key: &'static str, value: &'static str) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(Bytes::from_static(value.as_bytes())))
        .with_key(Some(Bytes::from_static(key.as_bytes())))
}

fn text(bytes: Option<&Bytes>) -> String {
    String::from_utf8_lossy(bytes.unwrap()).into_owned()
}

/// Fails the first so many appends of one value, and keeps what it has acknowledged.
#[derive(Debug, Default)]
struct Unwilling {
    value: &'static str,
    failures: AtomicUsize,
    kept: Mutex<Vec<String>>,
}

#[async_trait]
impl RecordSink for Unwilling {
    async fn append(&self, record: LogRecord) -> Result<()> {
        let value = text(record.value.as_ref());
        let fails = value == self.value
            && self
                .failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        if fails {
            return Err(Error::new(ErrorKind::Unavailable, "away"));
        }
        self.kept.lock().unwrap().push(value);
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// Runs `relay` until `is_done`, which must come; the time that passes is not real.
async fn run_until(relay: Relay, is_done: impl Fn() -> bool + Send + Sync) {
    let done = async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let run = tokio::time::timeout(Duration::from_secs(600), relay.run(done));
    run.await.expect("all of it is published at last");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_holds_up_its_own_key_alone() {
    let outbox = InMemoryOutbox::default();
    for (key, value) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("a", "a3")] {
        outbox.write(record(key, value));
    }
    let log = Arc::new(Unwilling { value: "a1", failures: 5.into(), ..Unwilling::default() });
    let kept = || log.kept.lock().unwrap().clone();
    let relay = Relay::new(Arc::new(outbox.clone()), Arc::clone(&log) as _, RelayOptions::default());
    run_until(relay, || kept().len() == 5).await;
    let kept = kept();
    // a1 has failed five times by then.
    let of = |key: &str| kept.iter().filter(|value| value.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(
        (of("a"), of("b")),
        (vec!["a1".into(), "a2".into(), "a3".into()], vec!["b1".into(), "b2".into()])
    );
    assert_eq!(kept[..2], ["b1", "b2"], "they do not wait for a1");
    assert_eq!(outbox.backlog().await.unwrap().entries, 0);
}

/// An outbox with something wrong about it.
#[derive(Debug, Default)]
struct Odd {
    outbox: InMemoryOutbox,
    /// How often `pending` fails, and panics every other time.
    failures: AtomicUsize,
    /// How often `forget` has no effect that one could see.
    unforgetful: AtomicUsize,
}

fn one_less(count: &AtomicUsize) -> Option<usize> {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).ok()
}

#[async_trait]
impl Outbox for Odd {
    async fn pending(&self, most: usize) -> Result<Vec<super::OutboxEntry>> {
        match one_less(&self.failures) {
            None => self.outbox.pending(most).await,
            Some(left) if left % 2 == 0 => panic!("on purpose"),
            Some(_) => Err(Error::new(ErrorKind::Unavailable, "away")),
        }
    }

    async fn forget(&self, ids: &[i64]) -> Result<()> {
        match one_less(&self.unforgetful) {
            None => self.outbox.forget(ids).await,
            Some(_) => Ok(()),
        }
    }

    async fn backlog(&self) -> Result<super::Backlog> {
        self.outbox.backlog().await
    }

    /// What others write wakes nobody.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_wakes_nobody_is_found_whatever_goes_wrong() {
    let odd = Odd { failures: 4.into(), ..Odd::default() };
    let (log, outbox) = (Arc::new(Unwilling::default()), odd.outbox.clone());
    let relay = Relay::new(Arc::new(odd), Arc::clone(&log) as _, RelayOptions::default());
    let monitor = relay.monitor();
    let (writing, seen) = (outbox.clone(), monitor.clone());
    let written = AtomicUsize::new(0);
    run_until(relay, move || {
        if written.fetch_add(1, Ordering::SeqCst) == 1_000 {
            writing.write(record("a", "a1"));
        }
        seen.status().published == 1
    })
    .await;
    assert_eq!(outbox.pending(9).await.unwrap(), []);
    assert!(monitor.status().trouble.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_still_shown_is_not_published_again() {
    let odd = Odd { unforgetful: 5.into(), ..Odd::default() };
    let (log, outbox) = (Arc::new(Unwilling::default()), odd.outbox.clone());
    for (key, value) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
        outbox.write(record(key, value));
    }
    let relay = Relay::new(Arc::new(odd), Arc::clone(&log) as _, RelayOptions::default());
    let looks = AtomicUsize::new(0);
    // Ten times as long as it takes to look for what others have written.
    run_until(relay, || looks.fetch_add(1, Ordering::SeqCst) == 1_000).await;
    assert_eq!(*log.kept.lock().unwrap(), ["a1", "a2", "b1"]);
    assert_eq!(outbox.pending(9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_forgotten_is_published_again_by_the_next_one() {
    let odd = Odd { unforgetful: usize::MAX.into(), ..Odd::default() };
    let (log, outbox) = (Arc::new(Unwilling::default()), odd.outbox.clone());
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

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
    let of = |key: &str| kept.iter().filter(|value| value.starts_with(key)).cloned().collect::<Vec<_>>();
    assert_eq!(
        (of("a"), of("b")),
        (vec!["a1".into(), "a2".into(), "a3".into()], vec!["b1".into(), "b2".into()])
    );
    assert_eq!(kept[0], "b1", "it does not wait for a1");
    assert_eq!(outbox.backlog().await.unwrap().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_forgotten_is_published_again() {
    /// Forgets nothing the first time, as if the process had ended before.
    #[derive(Debug)]
    struct Forgetless(InMemoryOutbox, AtomicUsize);

    #[async_trait]
    impl Outbox for Forgetless {
        async fn pending(&self, most: usize) -> Result<Vec<super::OutboxEntry>> {
            self.0.pending(most).await
        }

        async fn forget(&self, ids: &[i64]) -> Result<()> {
            if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err(Error::new(ErrorKind::Unavailable, "away"));
            }
            self.0.forget(ids).await
        }

        async fn backlog(&self) -> Result<super::Backlog> {
            self.0.backlog().await
        }

        async fn changed(&self) {
            self.0.changed().await;
        }
    }

    let outbox = InMemoryOutbox::default();
    outbox.write(record("a", "a1"));
    let log = Arc::new(Unwilling::default());
    let relay = Relay::new(
        Arc::new(Forgetless(outbox.clone(), AtomicUsize::new(0))),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    let monitor = relay.monitor();
    run_until(relay, || monitor.status().published > 0).await;
    assert_eq!(*log.kept.lock().unwrap(), ["a1", "a1"]);
    assert!(monitor.status().trouble.is_none());
    assert_eq!(outbox.pending(9).await.unwrap(), []);
}

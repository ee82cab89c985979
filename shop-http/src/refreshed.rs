//! A value that is read again from its source while it is in use, such as keys or a certificate.
//!
//! [`Refreshed`] runs no background task: using a value that is older than its maximum age starts a
//! read, and waits for it. One read serves all callers that wait at the same time. After a failed
//! read the last valid value stays in use, and reads are repeated after a pause.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use shop_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::files::{MAX_FILE_BYTES, read_small_file};

/// The pause after a failed read while there is no valid value.
const RETRY_WITHOUT_VALUE: Duration = Duration::from_secs(1);
/// The longest pause after a failed read while there is a valid value.
const RETRY_WITH_VALUE: Duration = Duration::from_secs(30);
/// The maximum time that a call waits for one read of a source whose last read failed.
const FAILED_SOURCE_WAIT: Duration = Duration::from_millis(500);
/// The maximum duration of a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The source of a text. Its `Debug` names it in the log, so it must not contain a secret.
#[async_trait]
pub trait TextSource: fmt::Debug + Send + Sync + 'static {
    /// Reads the whole text.
    ///
    /// # Errors
    /// If the text cannot be read now.
    async fn read(&self) -> Result<String>;
}

/// A regular file of at most 1 MiB, or several files that are used together.
#[derive(Debug, Clone)]
pub struct FileSource(Vec<PathBuf>);

impl FileSource {
    /// The separator between the texts of several files.
    pub const SEPARATOR: &str = "\0";

    /// Creates a source that reads the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(vec![path.into()])
    }

    /// Adds the file at `path`.
    ///
    /// The source joins the texts of all files in order, with a [`SEPARATOR`](Self::SEPARATOR)
    /// between two files.
    #[must_use]
    pub fn and(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.push(path.into());
        self
    }
}

#[async_trait]
impl TextSource for FileSource {
    async fn read(&self) -> Result<String> {
        let mut texts = Vec::with_capacity(self.0.len());
        for path in &self.0 {
            let file = path.clone();
            // The outer result is an error if the task panicked.
            let result = spawn_blocking(move || read_small_file(&file, MAX_FILE_BYTES)).await;
            let text = result
                .map_err(io::Error::other)
                .flatten()
                .map_err(|error| {
                    let message = format!("failed to read {}", path.display());
                    Error::new(ErrorKind::Unavailable, message).with_source(error)
                })?;
            texts.push(text);
        }
        Ok(texts.join(Self::SEPARATOR))
    }
}

/// A value that is parsed from a text, and read again while it is in use.
///
/// A value older than the maximum age is never used before its source was read again, so what the
/// text no longer allows is refused at once. A failed read or an invalid text is logged, and the last
/// valid value stays in use. No background task reads the source: [`get`](Self::get) starts a read
/// when one is due.
pub struct Refreshed<T> {
    source: Box<dyn TextSource>,
    parse: fn(&str) -> Result<T>,
    max_age: Duration,
    clock: Arc<dyn Clock>,
    /// Returns when a value expires, if it does.
    pub(crate) expiry: fn(&T) -> Option<Timestamp>,
    state: RwLock<RefreshedState<T>>,
    /// The last read that was started by a use. The read ended if the sender is gone.
    last_read: Mutex<Option<watch::Receiver<()>>>,
}

/// Shows neither the value nor its text, which may be secret.
impl<T> fmt::Debug for Refreshed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshed")
            .field("source", &self.source)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

/// The last valid value, and when it was read.
struct RefreshedState<T> {
    value: Option<Arc<T>>,
    /// The text of the value. An unchanged text keeps the value, and what its users derived from
    /// it.
    text: String,
    /// When the last successful read was started. Before the first one, when this was created.
    valid_at: Timestamp,
    /// When the last read ended, if it failed.
    failed_at: Option<Timestamp>,
}

/// How current a value is, for the metrics and `/health`.
pub(crate) struct Freshness {
    /// The time since the last successful read or, before that, since the start.
    pub(crate) age: Duration,
    /// Whether the last read failed.
    pub(crate) is_failing: bool,
    /// When the value expires, if it does.
    pub(crate) not_after: Option<Timestamp>,
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// Creates a value that is read from `source` when it is first needed, and again at the first
    /// use after `max_age`.
    pub fn new(
        source: impl TextSource,
        parse: fn(&str) -> Result<T>,
        max_age: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = RefreshedState {
            value: None,
            text: String::new(),
            valid_at: clock.now(),
            failed_at: None,
        };
        Self {
            source: Box::new(source),
            parse,
            max_age,
            clock,
            // A value expires only if the owner of this sets another function.
            expiry: |_value| None,
            state: RwLock::new(state),
            last_read: Mutex::default(),
        }
    }

    /// Returns the value, or `None` if none was valid yet.
    ///
    /// Waits for a read if the value is older than the maximum age.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a read, for which others may wait.
    pub async fn get(self: &Arc<Self>) -> Option<Arc<T>> {
        self.no_older_than(self.max_age).await
    }

    /// Returns the value like [`get`](Self::get), with `max_age` as its maximum age.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a read, for which others may wait.
    pub async fn no_older_than(self: &Arc<Self>, max_age: Duration) -> Option<Arc<T>> {
        // A read that another caller started may have begun too early. A second read follows then.
        for _read in 0..2 {
            let Some(max_wait) = self.max_wait_if_read_is_due(max_age) else {
                break;
            };
            // The channel closes when the read ends. After a time-out, the last value is used.
            let _ended_or_elapsed = timeout(max_wait, self.start_read().changed()).await;
        }
        self.state.read().value.clone()
    }

    /// Returns how current the value is, and starts a read in the background if that is due.
    pub(crate) fn freshness(self: &Arc<Self>) -> Freshness {
        if self.max_wait_if_read_is_due(self.max_age).is_some() {
            let _reading = self.start_read();
        }

        let state = self.state.read();
        Freshness {
            age: self.clock.now().saturating_since(state.valid_at),
            is_failing: state.failed_at.is_some(),
            not_after: state.value.as_deref().and_then(self.expiry),
        }
    }

    /// Starts a read in the background, unless one is under way.
    ///
    /// Returns a receiver whose channel closes when the read ends.
    fn start_read(self: &Arc<Self>) -> watch::Receiver<()> {
        let mut last_read = self.last_read.lock();
        // `has_changed` is an error once the task of the read dropped its sender.
        if let Some(receiver) = &*last_read
            && receiver.has_changed().is_ok()
        {
            return receiver.clone();
        }

        let (sender, receiver) = watch::channel(());
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _sender = sender;
            if let Err(error) = this.try_read().await {
                tracing::warn!(source = ?this.source, error = %error.chain(), "refresh failed, the last valid value is used");
            }
        });
        *last_read = Some(receiver.clone());
        receiver
    }

    /// Reads the value now.
    ///
    /// # Errors
    /// If the source cannot be read, or its text is not valid. The last valid value stays in use.
    pub async fn try_read(&self) -> Result<()> {
        let start = self.clock.now();
        let text = timeout(READ_TIMEOUT, self.source.read())
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Error::new(
                    ErrorKind::Unavailable,
                    "it was not read within 5 s",
                ))
            });
        let result = text.and_then(|text| self.set_text(text));

        let mut state = self.state.write();
        match result {
            Ok(()) => {
                state.valid_at = start;
                state.failed_at = None;
            }
            // The end of the read counts here, so that callers who waited for a slow read that
            // failed do not repeat it at once.
            Err(_) => state.failed_at = Some(self.clock.now()),
        }
        result
    }

    /// Parses `text` and uses its value from now on. Does nothing if the text is unchanged.
    ///
    /// # Errors
    /// The error of `parse` if the text is not valid.
    fn set_text(&self, text: String) -> Result<()> {
        let state = self.state.read();
        let is_unchanged = state.value.is_some() && state.text == text;
        drop(state);
        if is_unchanged {
            return Ok(());
        }

        // Parsing takes time, so the lock is not held here.
        let value = (self.parse)(&text)?;

        let mut state = self.state.write();
        state.value = Some(Arc::new(value));
        state.text = text;
        Ok(())
    }

    /// Returns the maximum time that a caller waits for a read, or `None` if no read is due.
    ///
    /// After a successful read, the next read is due once the value is older than `max_age`. After a
    /// failed read, the next one is due after a pause. Without any read, one is due at once.
    fn max_wait_if_read_is_due(&self, max_age: Duration) -> Option<Duration> {
        let state = self.state.read();
        let now = self.clock.now();
        let Some(failed_at) = state.failed_at else {
            let is_current = state.value.is_some() && is_within(max_age, state.valid_at, now);
            return (!is_current).then_some(Duration::MAX);
        };

        let pause = match state.value {
            Some(_) => max_age.min(RETRY_WITH_VALUE),
            None => RETRY_WITHOUT_VALUE,
        };
        if is_within(pause, failed_at, now) {
            return None;
        }
        // A source that failed, and now hangs, delays the caller only a little.
        Some(FAILED_SOURCE_WAIT)
    }
}

/// Returns whether `time` is at most `age` before `now`, without the limit itself.
///
/// A time after `now` is not within any age, so that a clock that was set back does not stop reads.
fn is_within(age: Duration, time: Timestamp, now: Timestamp) -> bool {
    let max_millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    (0..max_millis).contains(&(now.as_millis() - time.as_millis()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use shop_core::Timestamp;
    use tokio::time::{Instant, sleep};
    use uuid::Uuid;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Shows the time of tokio, which a test stops.
    #[derive(Debug)]
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.elapsed().as_millis().try_into().unwrap()).unwrap()
        }

        fn fresh_id(&self) -> Uuid {
            Uuid::nil()
        }
    }

    /// A number, as it was when a read has begun.
    #[derive(Debug, Default, Clone)]
    struct Slow {
        number: Arc<AtomicUsize>,
        reads: Arc<AtomicUsize>,
        fails: Arc<AtomicBool>,
    }

    #[async_trait]
    impl TextSource for Slow {
        async fn read(&self) -> Result<String> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let number = self.number.load(Ordering::Relaxed);
            sleep(2 * SECOND).await;
            if self.fails.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Unavailable, "away"));
            }
            Ok(number.to_string())
        }
    }

    fn refreshed() -> (Slow, Arc<Refreshed<usize>>) {
        let source = Slow::default();
        let clock = Arc::new(TestClock(Instant::now()));
        let parse = |text: &str| Ok(text.parse::<usize>().unwrap());
        (
            source.clone(),
            Arc::new(Refreshed::new(source, parse, SECOND, clock)),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_gets_a_value_beyond_its_age() {
        let (source, value) = refreshed();
        assert_eq!(value.get().await.as_deref(), Some(&0));
        for number in 1..4 {
            // A read begins before the change, and ends after it.
            sleep(SECOND).await;
            let early = Arc::clone(&value);
            tokio::spawn(async move { early.get().await });
            sleep(SECOND / 10).await;
            source.number.store(number, Ordering::Relaxed);
            sleep(SECOND).await;
            let reads = source.reads.load(Ordering::Relaxed);
            let all = join_all((0..40).map(|_| value.get())).await;
            assert!(
                all.iter().all(|found| found.as_deref() == Some(&number)),
                "{number}: {all:?}"
            );
            assert_eq!(
                source.reads.load(Ordering::Relaxed),
                reads + 1,
                "one read for all"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_away_delays_little() {
        let (source, value) = refreshed();
        assert_eq!(value.get().await.as_deref(), Some(&0));
        source.fails.store(true, Ordering::Relaxed);
        for most in [3, 1, 1] {
            sleep(30 * SECOND).await;
            let begun = Instant::now();
            assert_eq!(value.get().await.as_deref(), Some(&0));
            assert!(begun.elapsed() <= most * SECOND, "{:?}", begun.elapsed());
        }
    }
}

//! A value that is read again from its source while it is in use.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use shop_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::sync::watch;
use tokio::time::timeout;

/// Where a text is read from. Its `Debug` names it in the log, so it has no secret.
#[async_trait]
pub trait TextSource: fmt::Debug + Send + Sync + 'static {
    /// Reads the whole text.
    ///
    /// # Errors
    /// If it cannot be read now.
    async fn read(&self) -> Result<String>;
}

/// A file, or several files that are used together.
#[derive(Debug, Clone)]
pub struct FileSource(Vec<PathBuf>);

impl FileSource {
    /// What the texts of several files are separated by.
    pub const SEPARATOR: &str = "\0";

    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(vec![path.into()])
    }

    /// Adds the file at `path`. The text of the source is that of all files in order, with a
    /// [`SEPARATOR`](Self::SEPARATOR) between them.
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
            let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                let message = format!("failed to read {}", path.display());
                Error::new(ErrorKind::Unavailable, message).with_source(error)
            })?;
            // Editors on Windows write a byte order mark.
            texts.push(text.trim_start_matches('\u{feff}').to_owned());
        }
        Ok(texts.join(Self::SEPARATOR))
    }
}

/// A value that is parsed from a text, and read again while it is in use.
///
/// A value older than the maximum age is never used before its source was read again: what the text no longer allows is
/// refused at once. A failed read or an invalid text keeps the last valid value and is logged. There is no task behind
/// it: [`get`](Self::get) reads when that is due.
pub struct Refreshed<T> {
    source: Box<dyn TextSource>,
    parse: fn(&str) -> Result<T>,
    max_age: Duration,
    clock: Arc<dyn Clock>,
    /// When a value expires, if it does.
    pub(crate) expiry: fn(&T) -> Option<Timestamp>,
    state: RwLock<RefreshedState<T>>,
    /// The last read that was started by a use. It has ended when its sender is gone.
    reading: Mutex<Option<watch::Receiver<()>>>,
}

/// Without the value and its text, which may be secret.
impl<T> fmt::Debug for Refreshed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshed")
            .field("source", &self.source)
            .field("max_age", &self.max_age)
            .finish_non_exhaustive()
    }
}

struct RefreshedState<T> {
    value: Option<Arc<T>>,
    /// The text of the value. An unchanged text keeps the value, and what users of it have derived from it.
    text: String,
    /// When the last successful read was started; before that, when this was created.
    valid_at: Timestamp,
    /// When the last read has failed, if it has.
    failed_at: Option<Timestamp>,
}

/// How current a value is.
pub(crate) struct Freshness {
    /// The time since the last successful read. Before that, since the start.
    pub(crate) age: Duration,
    /// Whether the last read has failed.
    pub(crate) is_failing: bool,
    pub(crate) not_after: Option<Timestamp>,
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// A value that is read from `source` when it is first needed, and again at the first use after `max_age`.
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
            expiry: |_| None,
            state: RwLock::new(state),
            reading: Mutex::default(),
        }
    }

    /// The value, if there has been a valid one. Waits for a read if the value is older than the maximum age.
    pub async fn get(self: &Arc<Self>) -> Option<Arc<T>> {
        self.no_older_than(self.max_age).await
    }

    /// As [`get`](Self::get), with this maximum age.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop a read, for which others may wait.
    pub async fn no_older_than(self: &Arc<Self>, age: Duration) -> Option<Arc<T>> {
        let mut known = self.known(age);
        // A read that another caller has started may have begun too early: then there is a second one.
        for _read in 0..2 {
            if let (_, true, has_failed) = known {
                // A source that has failed, and now hangs, delays only a little.
                let patience = if has_failed { PATIENCE } else { Duration::MAX };
                drop(timeout(patience, self.read().changed()).await);
                known = self.known(age);
            }
        }
        known.0
    }

    /// The current freshness. Reads the value in the background if that is due.
    pub(crate) fn freshness(self: &Arc<Self>) -> Freshness {
        if self.known(self.max_age).1 {
            drop(self.read());
        }
        let state = self.state.read();
        Freshness {
            age: self.clock.now().saturating_since(state.valid_at),
            is_failing: state.failed_at.is_some(),
            not_after: state.value.as_deref().and_then(self.expiry),
        }
    }

    /// Reads the value in the background, unless a read is under way. Closed when the read has ended.
    fn read(self: &Arc<Self>) -> watch::Receiver<()> {
        let mut reading = self.reading.lock();
        if let Some(under_way) = reading.as_ref().filter(|read| read.has_changed().is_ok()) {
            return under_way.clone();
        }
        let (ended, read) = watch::channel(());
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let _ended = ended;
            if let Err(error) = this.try_read().await {
                tracing::warn!(source = ?this.source, error = %error.chain(), "refresh failed, the last valid value is used");
            }
        });
        *reading = Some(read.clone());
        read
    }

    /// Reads the value.
    ///
    /// # Errors
    /// If the source cannot be read, or its text is not valid. The last valid value stays in use.
    pub async fn try_read(&self) -> Result<()> {
        let begun = self.clock.now();
        let text = timeout(READ_TIMEOUT, self.source.read())
            .await
            .unwrap_or_else(|_elapsed| {
                Err(Error::new(
                    ErrorKind::Unavailable,
                    "it was not read within 5 s",
                ))
            });
        let read = text.and_then(|text| self.use_text(text));
        let mut state = self.state.write();
        match read {
            Ok(()) => {
                state.valid_at = begun;
                state.failed_at = None;
            }
            // A read that has failed late is not repeated at once by those who wait for it.
            Err(_) => state.failed_at = Some(self.clock.now()),
        }
        read
    }

    fn use_text(&self, text: String) -> Result<()> {
        let state = self.state.read();
        let is_known = state.value.is_some() && state.text == text;
        drop(state);
        if !is_known {
            let value = (self.parse)(&text)?;
            let mut state = self.state.write();
            state.value = Some(Arc::new(value));
            state.text = text;
        }
        Ok(())
    }

    /// The last valid value, whether a read is due, because the last one is at least `age` ago, and whether that has failed.
    fn known(&self, age: Duration) -> (Option<Arc<T>>, bool, bool) {
        let state = self.state.read();
        let value = state.value.clone();
        let now = self.clock.now().as_millis();
        // A clock that was set back does not stop reads.
        let is_within = |age: Duration, at: Timestamp| {
            (0..i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
                .contains(&(now - at.as_millis()))
        };
        let pause = if value.is_some() {
            age.min(RETRY_FAILED)
        } else {
            RETRY
        };
        let is_fresh = match state.failed_at {
            Some(failed_at) => is_within(pause, failed_at),
            None => value.is_some() && is_within(age, state.valid_at),
        };
        (value, !is_fresh, state.failed_at.is_some())
    }
}

/// The minimum time between two reads while there is no valid value.
const RETRY: Duration = Duration::from_secs(1);
/// The maximum time after a read that has failed.
const RETRY_FAILED: Duration = Duration::from_secs(30);
/// The maximum time that a call waits for a read of a source that has failed, of two.
const PATIENCE: Duration = Duration::from_millis(500);
/// The maximum duration of a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

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

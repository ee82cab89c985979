//! A value that is read again from its source while it is in use.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use shop_core::{Clock, Error, ErrorKind, Result, Timestamp};
use tokio::sync::Mutex;

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
        let paths = self.0.clone();
        let read = tokio::task::spawn_blocking(move || read_all(&paths)).await;
        read.unwrap_or_else(|aborted| {
            Err(Error::new(ErrorKind::Internal, "reading a file was aborted").with_source(aborted))
        })
    }
}

fn read_all(paths: &[PathBuf]) -> Result<String> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| {
            let message = format!("failed to read {}", path.display());
            Error::new(ErrorKind::Unavailable, message).with_source(error)
        })
    };
    let texts = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(texts.join(FileSource::SEPARATOR))
}

/// A value that is parsed from a text, and read again while it is in use.
///
/// A failed read or an invalid text keeps the last valid value and is logged. There is no task behind it:
/// [`get`](Self::get) reads in the background if the value is older than the maximum age.
pub struct Refreshed<T> {
    source: Box<dyn TextSource>,
    parse: fn(&str) -> Result<T>,
    max_age: Duration,
    clock: Arc<dyn Clock>,
    /// When a value expires, if it does.
    pub(crate) expiry: fn(&T) -> Option<Timestamp>,
    state: RwLock<State<T>>,
    /// Held during a read, so that there is one at a time.
    reading: Mutex<()>,
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

struct State<T> {
    value: Option<Arc<T>>,
    /// The text of the value. An unchanged text keeps the value, and what users of it have derived from it.
    text: String,
    /// When the last read was started, or ended.
    read_at: Option<Timestamp>,
    /// When the last successful read was started; before that, when this was created.
    valid_at: Timestamp,
    has_failed: bool,
}

/// How current a value is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Freshness {
    /// The time since the last successful read. Before that, since the start.
    pub(crate) age: Duration,
    /// Whether the last read has failed.
    pub(crate) is_failing: bool,
    pub(crate) not_after: Option<Timestamp>,
}

/// A value of any type whose freshness is exposed.
pub(crate) trait Watched: fmt::Debug + Send + Sync {
    /// The current freshness. Reads the value in the background if that is due.
    fn freshness(self: Arc<Self>) -> Freshness;
}

impl<T: Send + Sync + 'static> Watched for Refreshed<T> {
    fn freshness(self: Arc<Self>) -> Freshness {
        if self.known(self.max_age).1 {
            let this = Arc::clone(&self);
            drop(tokio::spawn(async move { this.read_after(this.max_age).await }));
        }
        let (state, now) = (self.state.read().unwrap_or_else(PoisonError::into_inner), self.clock.now());
        let age = now.as_millis().saturating_sub(state.valid_at.as_millis());
        Freshness {
            age: Duration::from_millis(age.try_into().unwrap_or_default()),
            is_failing: state.has_failed,
            not_after: state.value.as_deref().and_then(self.expiry),
        }
    }
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// A value that is read from `source` when it is first needed, and again at the first use after `max_age`.
    pub fn new(
        source: impl TextSource,
        parse: fn(&str) -> Result<T>,
        max_age: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (text, valid_at) = (String::new(), clock.now());
        let state = State { value: None, text, read_at: None, valid_at, has_failed: false };
        let (state, source) = (RwLock::new(state), Box::new(source));
        Self { source, parse, max_age, clock, expiry: |_| None, state, reading: Mutex::new(()) }
    }

    /// The last valid value, if there has been one. Waits only for the first read.
    pub async fn get(self: &Arc<Self>) -> Option<Arc<T>> {
        let (value, is_due) = self.known(self.max_age);
        if value.is_none() {
            return self.read_after(RETRY).await;
        }
        if is_due {
            let this = Arc::clone(self);
            drop(tokio::spawn(async move { this.read_after(this.max_age).await }));
        }
        value
    }

    /// Reads the value, unless the last read was less than `min_age` ago, and returns the last valid one. Only the first
    /// read is waited for by others: a source that hangs does not delay them.
    pub async fn read_after(&self, min_age: Duration) -> Option<Arc<T>> {
        let _alone = match self.reading.try_lock() {
            Ok(alone) => alone,
            Err(_) if self.is_new() => self.reading.lock().await,
            Err(_) => return self.known(min_age).0,
        };
        let (value, is_due) = self.known(min_age);
        if !is_due {
            return value;
        }
        match self.read_now().await {
            Ok(read) => Some(read),
            Err(error) => {
                tracing::warn!(source = ?self.source, error = %error.chain(), "refresh failed, the last valid value is used");
                value
            }
        }
    }

    /// Reads the value.
    ///
    /// # Errors
    /// If the source cannot be read, or its text is not valid. The last valid value stays in use.
    pub async fn try_read(&self) -> Result<()> {
        let _alone = self.reading.lock().await;
        self.read_now().await.map(drop)
    }

    async fn read_now(&self) -> Result<Arc<T>> {
        let now = self.clock.now();
        self.state.write().unwrap_or_else(PoisonError::into_inner).read_at = Some(now);
        let read = self.read_text().await;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // A read that has failed late is not repeated at once by those who wait for it.
        state.read_at = Some(self.clock.now());
        state.has_failed = read.is_err();
        if read.is_ok() {
            state.valid_at = now;
        }
        read
    }

    async fn read_text(&self) -> Result<Arc<T>> {
        let text = self.source.read().await?;
        if let Some(known) = self.value_of(&text) {
            return Ok(known);
        }
        let read = Arc::new((self.parse)(&text)?);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        (state.value, state.text) = (Some(Arc::clone(&read)), text);
        Ok(read)
    }

    /// Whether no read has ended yet.
    fn is_new(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.value.is_none() && !state.has_failed
    }

    /// The last valid value, if it was parsed from `text`.
    fn value_of(&self, text: &str) -> Option<Arc<T>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.value.clone().filter(|_| state.text == text)
    }

    /// The last valid value, and whether the last read is at least `age` ago.
    fn known(&self, age: Duration) -> (Option<Arc<T>>, bool) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now().as_millis();
        let age = if state.has_failed { age.min(RETRY_FAILED) } else { age };
        // A clock that was set back does not stop reads.
        let is_fresh = |at: Timestamp| {
            (0..i64::try_from(age.as_millis()).unwrap_or(i64::MAX)).contains(&(now - at.as_millis()))
        };
        (state.value.clone(), !state.read_at.is_some_and(is_fresh))
    }
}

/// The minimum time between two reads while there is no valid value.
const RETRY: Duration = Duration::from_secs(1);
/// The maximum time after a read that has failed.
const RETRY_FAILED: Duration = Duration::from_secs(30);

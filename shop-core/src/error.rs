//! The error type of all ports.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of a port call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The category of an error.
///
/// It determines what a caller can do. Error codes of drivers are in the message and in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is invalid: correct it.
    Invalid,
    /// Too many bytes for the log or the store: send less.
    TooLarge,
    /// The id is used by a purchase with different content.
    Conflict,
    /// Credentials are wrong or missing, or have insufficient rights: an operator has to act.
    Denied,
    /// The backend is unavailable: retry.
    Unavailable,
    /// A bounded queue is full: slow down, then retry.
    Overloaded,
    /// No response within the timeout.
    DeadlineExceeded,
    /// The port was closed: open a new one.
    Closed,
    /// Not supported by this backend or this build.
    Unsupported,
    /// Stored data cannot be read.
    Corrupt,
    /// A defect of this program.
    Internal,
}

/// Whether the call can be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// A retry fails the same way.
    Never,
    /// A retry may succeed and is safe.
    Safe,
    /// As [`Safe`](Self::Safe), but not before this time has passed.
    After(Duration),
}

/// Whether the call took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was changed, and nothing will be.
    NotApplied,
    /// Unknown: the call may have been applied, or may still be.
    Unknown,
}

/// The error of a port call. Cheap to clone.
///
/// `Display` prints one line without sources; [`chain`](Self::chain) includes them.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    outcome: Outcome,
    origin: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, with the default retry advice and outcome of that kind.
    ///
    /// `message` is lower case without a full stop, and states what to do if that is known.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::DeadlineExceeded => Retry::Safe,
            _ => Retry::Never,
        };
        let outcome = match kind {
            // Callers with better knowledge override it.
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Internal => Outcome::Unknown,
            _ => Outcome::NotApplied,
        };
        Self(Arc::new(Inner {
            kind,
            retry,
            outcome,
            origin: "",
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// The error of a call that panicked.
    pub(crate) fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Self::new(ErrorKind::Internal, "a port has panicked").with_context("panic", text)
    }

    /// The same error with this retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.inner_mut().retry = retry;
        self
    }

    /// The same error with this outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.inner_mut().outcome = outcome;
        self
    }

    /// The same error with its origin, such as `embedded log`.
    #[must_use]
    pub fn with_origin(mut self, origin: &'static str) -> Self {
        self.inner_mut().origin = origin;
        self
    }

    /// The same error with one more fact, such as `("path", "/data/log.db")`. Never a secret.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.inner_mut().context.push((name, value.to_string()));
        self
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner_mut().source = Some(Arc::new(source));
        self
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// The category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the call can be retried.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Whether the call took effect.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The message alone, without origin and context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether a retry of the same call may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.0.retry != Retry::Never
    }

    /// The error and all its sources in one line.
    #[must_use]
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if !inner.origin.is_empty() {
            write!(f, "{}: ", inner.origin)?;
        }
        f.write_str(&inner.message)?;
        for (position, (name, value)) in inner.context.iter().enumerate() {
            let open = if position == 0 { " (" } else { ", " };
            write!(f, "{open}{name}={value}")?;
        }
        if inner.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "{:?}/{:?}/{:?}: {}", inner.kind, inner.retry, inner.outcome, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_with_origin_and_context() {
        let error = Error::new(ErrorKind::Unavailable, "disk full: free some space")
            .with_origin("embedded log")
            .with_context("path", "/data/log.db")
            .with_context("code", 13)
            .with_source(std::io::Error::other("no space left on device"));
        assert_eq!(
            error.to_string(),
            "embedded log: disk full: free some space (path=/data/log.db, code=13)"
        );
        assert!(error.chain().to_string().ends_with("code=13): no space left on device"));
    }

    #[test]
    fn the_default_outcome_follows_from_the_kind() {
        assert_eq!(Error::new(ErrorKind::Unavailable, "unavailable").outcome(), Outcome::Unknown);
        let late = Error::new(ErrorKind::DeadlineExceeded, "no answer within 5 s");
        assert_eq!((late.outcome(), late.retry()), (Outcome::Unknown, Retry::Safe));
        let full = Error::new(ErrorKind::Overloaded, "the queue is full");
        assert_eq!((full.outcome(), full.retry()), (Outcome::NotApplied, Retry::Safe));
        assert!(!Error::new(ErrorKind::Invalid, "no").is_transient());
    }
}

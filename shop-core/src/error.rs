//! The error type of all ports.
//!
//! An [`Error`] tells a caller three things that decide how to go on: its [`ErrorKind`], whether a
//! [`Retry`] is useful and safe, and its [`Outcome`], which tells whether the failed call may have
//! taken effect.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::IdempotencyKey;
use crate::macros::{format_as, named_enum};

/// The result of a port call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

named_enum! {
    /// The category of an error.
    ///
    /// The category determines what a caller can do. The error codes of drivers are in the message
    /// and in the source of the error. The names of categories appear in metrics, `/health` and
    /// dead letters, and at the end of the types of problems.
    pub enum ErrorKind {
        /// The request is invalid: correct it.
        Invalid = "invalid",
        /// The request contains too many bytes for the log or the store: send less.
        TooLarge = "too-large",
        /// The id is used by a purchase with different content.
        Conflict = "conflict",
        /// The id was used by a purchase that was erased: use a new key.
        Erased = "erased",
        /// The log no longer continues at a cursor of events: list the purchases, and follow
        /// without it.
        Expired = "cursor-expired",
        /// The backend refuses the call because of credentials, rights or settings: an operator
        /// must act.
        Denied = "denied",
        /// The backend is unavailable: retry.
        Unavailable = "unavailable",
        /// A bounded queue is full: slow down, then retry.
        Overloaded = "overloaded",
        /// There was no response within the timeout.
        DeadlineExceeded = "deadline-exceeded",
        /// The port was closed: open a new one.
        Closed = "closed",
        /// The call is not supported by this backend or this build.
        Unsupported = "unsupported",
        /// Stored data cannot be read.
        Corrupt = "corrupt",
        /// A defect of this program caused the error.
        Internal = "internal",
    }
}

/// Who must act so that a failed call succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The caller, who must send something else.
    Caller,
    /// The developers of this program, because the error is a defect.
    Program,
    /// Nobody, or an operator: the log, the store, the network or the machine fails, or is not set
    /// up for this call. The same call may succeed later.
    Surroundings,
}

impl ErrorKind {
    /// Returns whose fault an error of this kind is.
    ///
    /// An adapter that converts the errors of its driver must choose a kind with the right blame.
    /// Ingest retries a purchase that fails, unless the caller is to blame: then the purchase becomes
    /// a dead letter.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::Invalid | Self::TooLarge | Self::Conflict | Self::Erased | Self::Expired => {
                Blame::Caller
            }
            Self::Internal => Blame::Program,
            Self::Denied
            | Self::Unavailable
            | Self::Overloaded
            | Self::DeadlineExceeded
            | Self::Closed
            | Self::Unsupported
            | Self::Corrupt => Blame::Surroundings,
        }
    }
}

/// The advice whether to retry a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// A retry fails the same way.
    Never,
    /// A retry may succeed, and does not apply the call twice.
    Safe,
    /// A retry may succeed and is safe, as [`Safe`](Self::Safe), but only after this time.
    After(Duration),
}

/// The knowledge whether a failed call took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The call changed nothing, and will change nothing.
    NotApplied,
    /// The call may have been applied, or may still be applied later.
    Unknown,
}

/// The error of a call of a port. Clones are cheap.
///
/// `Display` prints one line without sources; [`chain`](Self::chain) includes them.
///
/// ```
/// use shop_core::{Outcome, Shop, NewPurchase};
///
/// # async fn example(shop: Shop, order: NewPurchase) {
/// match shop.buy(order).await {
///     Ok(bought) => println!("bought: {}", bought.purchase.id),
///     // The same call may succeed later.
///     Err(error) if error.is_retryable() => println!("try again: {error}"),
///     // Unknown outcome: buy again with this key, and it is the same purchase.
///     Err(error) if error.outcome() == Outcome::Unknown => println!("{:?}", error.idempotency_key()),
///     Err(error) => println!("refused: {error}"),
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<ErrorInner>);

/// The members of an [`Error`], which clones of the error share.
#[derive(Clone)]
struct ErrorInner {
    kind: ErrorKind,
    retry: Retry,
    outcome: Outcome,
    origin: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    attempts: u32,
    request_id: Option<String>,
    idempotency_key: Option<IdempotencyKey>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// Awaits `calls` of ports, and turns a panic in the calls into an
/// [`Internal`](ErrorKind::Internal) error.
///
/// An embedder may implement a port, and a panic in that port must not end a task of this crate. The
/// error of a panic has the origin `origin`. An empty `origin` is not printed.
pub async fn catch_panic<T>(
    origin: &'static str,
    calls: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = AssertUnwindSafe(calls).catch_unwind().await;
    result.unwrap_or_else(|panic| Err(Error::from_panic(&*panic).with_origin(origin)))
}

impl Error {
    /// Creates an error of `kind`, with the default retry advice and outcome of this kind.
    ///
    /// `message` is lower case without a full stop, and states what to do if that is known.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::DeadlineExceeded => {
                Retry::Safe
            }
            // The same call fails again until something was changed by hand.
            _ => Retry::Never,
        };
        let outcome = match kind {
            // A call of these kinds may have been sent before it failed. Callers that know better
            // set another outcome.
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Internal => {
                Outcome::Unknown
            }
            // A call of any other kind is refused before it takes effect.
            _ => Outcome::NotApplied,
        };
        Self(Arc::new(ErrorInner {
            kind,
            retry,
            outcome,
            origin: "",
            message: message.into(),
            context: Vec::new(),
            attempts: 0,
            request_id: None,
            idempotency_key: None,
            source: None,
        }))
    }

    /// Creates the error of a call that ended with `panic`, and adds the text of the panic.
    fn from_panic(panic: &(dyn Any + Send)) -> Self {
        // `panic!` with arguments panics with a `String`, and without arguments with a `&str`.
        let formatted_text = panic.downcast_ref::<String>().map(String::as_str);
        let panic_text = formatted_text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        Self::new(ErrorKind::Internal, "a port has panicked").with_context("panic", panic_text)
    }

    /// Replaces the retry advice of this error.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.inner_mut().retry = retry;
        self
    }

    /// Replaces the outcome of this error.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.inner_mut().outcome = outcome;
        self
    }

    /// Sets the origin of this error, such as `embedded log`, which is printed in front of the
    /// message.
    #[must_use]
    pub fn with_origin(mut self, origin: &'static str) -> Self {
        self.inner_mut().origin = origin;
        self
    }

    /// Adds a fact to this error, such as `("path", "/data/shop.db")`. A fact is printed, so it
    /// must not be a secret.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.inner_mut().context.push((name, value.to_string()));
        self
    }

    /// Sets the number of attempts of the failed call.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.inner_mut().attempts = attempts;
        self
    }

    /// Sets the id of the failed request.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.inner_mut().request_id = Some(id.into());
        self
    }

    /// Sets the idempotency key of the failed write, with which the write can be repeated.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.inner_mut().idempotency_key = Some(key);
        self
    }

    /// Sets the idempotency key of the failed write to a key that was generated for the call.
    ///
    /// With an unknown outcome, the error becomes not retryable: the same call would generate
    /// another key, and so could write twice. A call with the key of this error is safe.
    #[must_use]
    pub fn with_generated_key(mut self, key: IdempotencyKey) -> Self {
        if self.outcome() == Outcome::Unknown {
            self = self.with_retry(Retry::Never);
        }
        self.with_idempotency_key(key)
    }

    /// Sets the source of this error, which is the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner_mut().source = Some(Arc::new(source));
        self
    }

    /// Returns the members to change, and copies them first if clones of this error share them.
    fn inner_mut(&mut self) -> &mut ErrorInner {
        Arc::make_mut(&mut self.0)
    }

    /// Returns the category of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the advice whether the call can be retried.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Returns whether the call may have taken effect.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Returns the fact with this name, such as `field`, which names a wrong parameter.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<&str> {
        self.0
            .context
            .iter()
            .find(|(fact_name, _)| *fact_name == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the message without the origin and the context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Checks whether the same call may succeed later, and is safe to repeat.
    ///
    /// A caller that queues purchases should drop a purchase that failed as
    /// [`Invalid`](ErrorKind::Invalid), [`TooLarge`](ErrorKind::TooLarge),
    /// [`Conflict`](ErrorKind::Conflict) or [`Erased`](ErrorKind::Erased). The caller should keep a
    /// purchase that failed with another kind, also if the error is not retryable: an operator may
    /// solve the problem.
    ///
    /// Repeating a write without a key is not safe if the write may have taken effect: a second buy
    /// would be a second purchase. With the [`idempotency_key`](Self::idempotency_key) of the
    /// error, it is the same purchase.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retry != Retry::Never
    }

    /// Returns the minimum time before a retry, if the backend requires one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.retry {
            Retry::After(time) => Some(time),
            _ => None,
        }
    }

    /// Returns the number of attempts of the call, or 0 if the number is unknown.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the id of the request, if there was one. The log of the service contains the same
    /// id.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Returns the idempotency key of the failed write, if there was one. A call with this key
    /// repeats the same write.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.0.idempotency_key.as_ref()
    }

    /// Returns a value that displays the error and all its sources in one line.
    #[must_use]
    pub fn chain(&self) -> impl fmt::Display + '_ {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        // The text of a source may come from a server. Control characters could break the line or
        // control a terminal.
        text.replace(char::is_control, " ")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if !inner.origin.is_empty() {
            write!(f, "{}: ", inner.origin)?;
        }
        f.write_str(&inner.message)?;
        let mut fields: Vec<String> = inner
            .context
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if inner.attempts > 1 {
            fields.push(format!("attempts={}", inner.attempts));
        }
        if let Some(id) = &inner.request_id {
            fields.push(format!("request_id={id}"));
        }
        if let Some(key) = &inner.idempotency_key {
            fields.push(format!("idempotency_key={key}"));
        }
        if fields.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", fields.join(", "))
    }
}

format_as!(Error: |this| Debug = Display(format_args!(
    "{:?}/{:?}/{:?}: {}", this.0.kind, this.0.retry, this.0.outcome, this.chain()
)));

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // `Some` converts the source to a type without the bounds `Send` and `Sync`.
        Some(self.0.source.as_deref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_has_no_control_characters() {
        let error = Error::new(ErrorKind::Unavailable, "a")
            .with_source(std::io::Error::other("b\n\u{1b}]0;c\u{7}"));
        assert_eq!(error.chain().to_string(), "a: b  ]0;c ");
    }

    #[test]
    fn display_is_one_line_with_origin_context_and_the_facts_of_the_call() {
        let error = Error::new(ErrorKind::Unavailable, "disk full: free some space")
            .with_origin("embedded log")
            .with_context("path", "/data/shop.db")
            .with_context("code", 13)
            .with_attempts(3)
            .with_request_id("r-1")
            .with_idempotency_key("order-7".parse().unwrap())
            .with_source(std::io::Error::other("no space left on device"));
        assert_eq!(
            error.chain().to_string(),
            "embedded log: disk full: free some space (path=/data/shop.db, code=13, attempts=3, request_id=r-1, \
             idempotency_key=order-7): no space left on device"
        );
        assert_eq!((error.attempts(), error.request_id()), (3, Some("r-1")));
        let once = Error::new(ErrorKind::Invalid, "no").with_attempts(1);
        assert_eq!(once.to_string(), "no");
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_default_outcome_follows_from_the_kind() {
        for (kind, outcome, is_retryable) in [
            (ErrorKind::Unavailable, Outcome::Unknown, true),
            (ErrorKind::DeadlineExceeded, Outcome::Unknown, true),
            (ErrorKind::Overloaded, Outcome::NotApplied, true),
            (ErrorKind::Invalid, Outcome::NotApplied, false),
        ] {
            let error = Error::new(kind, "x");
            assert_eq!(error.outcome(), outcome, "{kind:?}");
            assert_eq!(error.is_retryable(), is_retryable, "{kind:?}");
        }
    }

    #[test]
    fn an_unknown_outcome_under_a_generated_key_is_not_retryable() {
        let key = || "k".parse().unwrap();
        let unknown = Error::new(ErrorKind::Unavailable, "no response");
        assert!(unknown.clone().with_idempotency_key(key()).is_retryable());
        assert!(!unknown.with_generated_key(key()).is_retryable());
        let full = Error::new(ErrorKind::Overloaded, "the queue is full")
            .with_retry(Retry::After(Duration::ZERO));
        assert_eq!(
            full.with_generated_key(key()).retry_after(),
            Some(Duration::ZERO)
        );
    }
}

//! The error type of all ports.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use crate::IdempotencyKey;
use crate::macros::named_enum;

/// The result of a port call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

named_enum! {
    /// The category of an error.
    ///
    /// It determines what a caller can do. Error codes of drivers are in the message and in the source. The names are
    /// those in metrics, `/health` and dead letters, and the ends of the types of problems.
    pub enum ErrorKind {
        /// The request is invalid: correct it.
        Invalid = "invalid",
        /// Too many bytes for the log or the store: send less.
        TooLarge = "too-large",
        /// The id is used by a purchase with different content.
        Conflict = "conflict",
        /// The id was used by a purchase that was erased: use a new key.
        Erased = "erased",
        /// The log no longer continues at a cursor of events: list the purchases, and follow without it.
        Expired = "cursor-expired",
        /// Credentials are wrong or missing, or have insufficient rights: an operator has to act.
        Denied = "denied",
        /// The backend is unavailable: retry.
        Unavailable = "unavailable",
        /// A bounded queue is full: slow down, then retry.
        Overloaded = "overloaded",
        /// No response within the timeout.
        DeadlineExceeded = "deadline-exceeded",
        /// The port was closed: open a new one.
        Closed = "closed",
        /// Not supported by this backend or this build.
        Unsupported = "unsupported",
        /// Stored data cannot be read.
        Corrupt = "corrupt",
        /// A defect of this program.
        Internal = "internal",
    }
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

/// Awaits calls of ports, which may be the embedder's own. A panic in them is an error with this `origin`, if it is not
/// empty.
pub(crate) async fn catch_panic<T>(
    origin: &'static str,
    calls: impl Future<Output = Result<T>>,
) -> Result<T> {
    let result = AssertUnwindSafe(calls).catch_unwind().await;
    result.unwrap_or_else(|panic| Err(Error::from_panic(&*panic).with_origin(origin)))
}

impl Error {
    /// An error of `kind`, with the default retry advice and outcome of that kind.
    ///
    /// `message` is lower case without a full stop, and states what to do if that is known.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::DeadlineExceeded => {
                Retry::Safe
            }
            _ => Retry::Never,
        };
        let outcome = match kind {
            // Callers with better knowledge override it.
            ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Internal => {
                Outcome::Unknown
            }
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

    /// The error of a call that panicked.
    fn from_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
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

    /// The same error with one more fact, such as `("path", "/data/shop.db")`. Never a secret.
    #[must_use]
    pub fn with_context(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.inner_mut().context.push((name, value.to_string()));
        self
    }

    /// The same error of a call that took this number of attempts.
    #[doc(hidden)]
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.inner_mut().attempts = attempts;
        self
    }

    /// The same error of a request with this id.
    #[doc(hidden)]
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.inner_mut().request_id = Some(id.into());
        self
    }

    /// The same error of a write with this key.
    #[doc(hidden)]
    #[must_use]
    pub fn with_idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.inner_mut().idempotency_key = Some(key);
        self
    }

    /// The same error of a write whose key was generated for this call. With an unknown outcome it is not retryable:
    /// the same call would generate another key and be another write.
    #[doc(hidden)]
    #[must_use]
    pub fn with_generated_key(self, key: IdempotencyKey) -> Self {
        let error = if self.outcome() == Outcome::Unknown {
            self.with_retry(Retry::Never)
        } else {
            self
        };
        error.with_idempotency_key(key)
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner_mut().source = Some(Arc::new(source));
        self
    }

    fn inner_mut(&mut self) -> &mut ErrorInner {
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

    /// The fact of this name, such as the wrong parameter as `field`.
    #[must_use]
    pub fn context(&self, name: &str) -> Option<&str> {
        self.0
            .context
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The message alone, without origin and context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Whether the same call may succeed later and is safe to repeat.
    ///
    /// A queue of purchases drops one that is [`Invalid`](ErrorKind::Invalid), [`TooLarge`](ErrorKind::TooLarge), a
    /// [`Conflict`](ErrorKind::Conflict) or [`Erased`](ErrorKind::Erased), and keeps all others, also those that are not
    /// retryable until an operator has acted.
    ///
    /// It is not safe to repeat a write without a key that may have taken effect: a second buy would be a second
    /// purchase. With the error's [`idempotency_key`](Self::idempotency_key) it is the same one.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retry != Retry::Never
    }

    /// The minimum time before a retry, if the backend requires one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.retry {
            Retry::After(time) => Some(time),
            _ => None,
        }
    }

    /// The number of attempts of the call, if it is known; otherwise 0.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The id of the request, if there was one. It is also in the log of the service.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The key of the failed write, if it had one. Another call with this key is the same write.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.0.idempotency_key.as_ref()
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

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(
            f,
            "{:?}/{:?}/{:?}: {}",
            inner.kind,
            inner.retry,
            inner.outcome,
            self.chain()
        )
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        // One line, and no command to a terminal, whatever a server says.
        f.write_str(&text.replace(char::is_control, " "))
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
    fn display_is_one_line_with_origin_and_context() {
        let error = Error::new(ErrorKind::Unavailable, "disk full: free some space")
            .with_origin("embedded log")
            .with_context("path", "/data/shop.db")
            .with_context("code", 13)
            .with_source(std::io::Error::other("no space left on device"));
        assert_eq!(
            error.to_string(),
            "embedded log: disk full: free some space (path=/data/shop.db, code=13)"
        );
        assert!(
            error
                .chain()
                .to_string()
                .ends_with("code=13): no space left on device")
        );
    }

    #[test]
    fn the_default_outcome_follows_from_the_kind() {
        assert_eq!(
            Error::new(ErrorKind::Unavailable, "unavailable").outcome(),
            Outcome::Unknown
        );
        let late = Error::new(ErrorKind::DeadlineExceeded, "no answer within 5 s");
        assert_eq!(
            (late.outcome(), late.retry()),
            (Outcome::Unknown, Retry::Safe)
        );
        let full = Error::new(ErrorKind::Overloaded, "the queue is full");
        assert_eq!(
            (full.outcome(), full.retry()),
            (Outcome::NotApplied, Retry::Safe)
        );
        assert!(!Error::new(ErrorKind::Invalid, "no").is_retryable());
    }

    #[test]
    fn the_facts_of_a_call_follow_the_context() {
        let error = Error::new(ErrorKind::Unavailable, "no response")
            .with_context("status", 503)
            .with_attempts(3)
            .with_request_id("r-1")
            .with_idempotency_key("order-7".parse().unwrap());
        assert_eq!(
            error.to_string(),
            "no response (status=503, attempts=3, request_id=r-1, idempotency_key=order-7)"
        );
        assert_eq!((error.attempts(), error.request_id()), (3, Some("r-1")));
        assert_eq!(error.idempotency_key().unwrap().as_str(), "order-7");
        let once = Error::new(ErrorKind::Invalid, "no").with_attempts(1);
        assert_eq!(once.to_string(), "no");
        assert_eq!(size_of::<Error>(), size_of::<usize>());
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

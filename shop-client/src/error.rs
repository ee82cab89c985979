//! The error of the client.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::problem::Problem;
use crate::{ErrorKind, IdempotencyKey, Outcome, Retry};

/// The result of a call to a service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call to a service failed. Cheap to clone.
///
/// ```no_run
/// use shop_client::{NewPurchase, Outcome, ShopClient};
///
/// # async fn example(client: ShopClient, order: NewPurchase) {
/// match client.buy(order).await {
///     Ok(bought) => println!("bought: {}", bought.purchase.id),
///     // The same call may succeed later. It was already retried within the time-out and the budget.
///     Err(error) if error.is_retryable() => println!("try again: {error}"),
///     // Unknown outcome: buy again with this key, and it is the same purchase.
///     Err(error) if error.outcome() == Outcome::Unknown => println!("{:?}", error.idempotency_key()),
///     Err(error) => println!("refused: {error}"),
/// }
/// # }
/// ```
///
/// Converts into the error of a port, with the same kind, outcome and retry advice.
#[derive(Clone)]
#[non_exhaustive]
pub struct Error {
    cause: shop_core::Error,
    details: Box<Details>,
}

#[derive(Debug, Clone, Default)]
struct Details {
    status: Option<u16>,
    problem: Option<Problem>,
    request_id: Option<String>,
    key: Option<IdempotencyKey>,
    attempts: u32,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        shop_core::Error::new(kind, message).with_origin("shop-client").into()
    }

    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.cause = self.cause.with_outcome(outcome);
        self
    }

    pub(crate) fn with_retry(mut self, retry: Retry) -> Self {
        self.cause = self.cause.with_retry(retry);
        self
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = self.cause.with_source(source);
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.details.status = Some(status);
        self
    }

    pub(crate) fn with_problem(mut self, problem: Option<Problem>) -> Self {
        self.details.problem = problem;
        self
    }

    /// Adds the id of the request, unless the error has one.
    pub(crate) fn with_request_id(mut self, id: &str) -> Self {
        self.details.request_id.get_or_insert_with(|| id.to_owned());
        self
    }

    /// The error of a call whose key was generated for it.
    pub(crate) fn with_fresh_key(self) -> Self {
        // Repeated, the same call would have another key.
        if self.outcome() == Outcome::Unknown { self.with_retry(Retry::Never) } else { self }
    }

    pub(crate) fn with_key(mut self, key: IdempotencyKey) -> Self {
        self.details.key = Some(key);
        self
    }

    pub(crate) fn with_attempts(mut self, attempts: u32) -> Self {
        self.details.attempts = attempts;
        self
    }

    /// The kind of the error.
    ///
    /// ```
    /// use shop_client::{ErrorKind, ShopClient};
    ///
    /// let error = ShopClient::builder("localhost:3000").build().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Invalid);
    /// assert_eq!(error.status(), None);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.cause.kind()
    }

    /// Whether the call took effect. [`Unknown`](Outcome::Unknown) if any of its attempts may have.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.cause.outcome()
    }

    /// Whether the same call may succeed later and is safe to repeat.
    ///
    /// It is not safe to repeat a write without a key that may have taken effect: a second buy would be a second
    /// purchase. With the error's [`idempotency_key`](Self::idempotency_key) it is the same one.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.cause.is_retryable()
    }

    /// The value of the service's `Retry-After`, if any, capped at 60 s.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.cause.retry() {
            Retry::After(time) => Some(time),
            _ => None,
        }
    }

    /// The status of the last response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.details.status
    }

    /// The problem in the last response, if any.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        self.details.problem.as_ref()
    }

    /// The id of the request, which is also in the service's log.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.details.request_id.as_deref()
    }

    /// For a write: the key that makes a repetition the same purchase, user or order, whether the caller or the client
    /// chose it.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.details.key.as_ref()
    }

    /// The number of attempts; 0 when nothing was sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.details.attempts
    }

    /// The message without the fields.
    #[must_use]
    pub fn message(&self) -> &str {
        self.cause.message()
    }

    /// The fields after the message.
    fn facts(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Details { status, request_id, key, attempts, .. } = &*self.details;
        [
            ("status", status.map(|status| status.to_string())),
            ("attempts", (*attempts > 1).then(|| attempts.to_string())),
            ("request_id", request_id.clone()),
            ("idempotency_key", key.as_ref().map(ToString::to_string)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

impl From<Error> for shop_core::Error {
    fn from(error: Error) -> Self {
        error.facts().fold(error.cause.clone(), |cause, (name, value)| cause.with_context(name, value))
    }
}

impl From<shop_core::Error> for Error {
    fn from(cause: shop_core::Error) -> Self {
        Self { cause, details: Box::default() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&shop_core::Error::from(self.clone()), f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&shop_core::Error::from(self.clone()), f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}

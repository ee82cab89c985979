//! The errors of requests. Only this module maps kinds of errors to statuses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shop_core::api::problem::{self, problem_type};
use shop_core::api::{BatchResultBody, BatchStatus, ProblemError, ProblemMembers};
use shop_core::{Error, ErrorKind, IdempotencyKey, Outcome, Retry};

use crate::header_names::{ACCEPT_POST, IDEMPOTENCY_KEY};
use crate::response::validation_error::{ValidationError, texts};
use crate::service::kind::ServiceKind;

/// The error of a request, as `/v1` reports it. A response that is made of it has no body:
/// [`Dialect::render`](crate::compat::Dialect::render) writes it, in the form of the path.
#[derive(Debug, Clone)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    /// The type of an outcome that our client recognizes, or that of the kind of error, so that the client restores the
    /// error of the port.
    pub(crate) problem_type: Option<&'static str>,
    pub(crate) text: Cow<'static, str>,
    /// The errors of an invalid request.
    pub(crate) errors: Vec<ValidationError>,
    /// Of a write.
    outcome: Option<Outcome>,
    /// Seconds.
    retry_after: u64,
    /// What the client must send instead.
    wanted: Option<Box<(HeaderName, &'static str)>>,
    pub(crate) failed: Option<Arc<FailedCall>>,
}

/// A call of a port that failed, or whose outcome is unknown.
#[derive(Debug)]
pub(crate) struct FailedCall {
    pub(crate) error: Error,
    pub(crate) subject: Subject,
    /// Of a write: the key to repeat it with.
    pub(crate) key: Option<IdempotencyKey>,
}

impl FailedCall {
    /// The failed operation, such as `write purchase`.
    pub(crate) fn operation(&self) -> &'static str {
        let [_, write, query] = self.subject.words();
        if self.key.is_some() { write } else { query }
    }
}

/// The subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Purchases, in a service of this kind.
    Purchase(ServiceKind),
    /// Another one: the noun, and the names of a failed write and a failed query in the log.
    Other([&'static str; 3]),
}

impl Subject {
    pub(crate) const DEAD_LETTER: Self =
        Self::Other(["dead letter", "resolve dead letters", "query dead letters"]);

    /// The noun, and the names of a failed write and a failed query in the log.
    const fn words(self) -> [&'static str; 3] {
        match self {
            Self::Purchase(_) => ["purchase", "write purchase", "query purchases"],
            Self::Other(words) => words,
        }
    }
}

/// The default `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;
/// The maximum number of entries: a body has room for thousands of errors.
const MAX_ERRORS: usize = 64;
/// The maximum number of errors in the text of a problem.
const MAX_TEXTS: usize = 8;
/// The start of the text about a body that is not an object.
const BODY: &str = "Request body ";
/// The end of the text about a write that is not, or not known to be, recorded.
const UNAVAILABLE: &str = "the service behind is unavailable";

const fn denied(status: StatusCode, text: &'static str) -> HttpError {
    of_kind(status, ErrorKind::Denied, text)
}

const fn of_kind(status: StatusCode, kind: ErrorKind, text: &'static str) -> HttpError {
    HttpError::new(status, Some(problem_type(kind)), text)
}

const fn unsupported(text: &'static str) -> HttpError {
    of_kind(StatusCode::NOT_IMPLEMENTED, ErrorKind::Unsupported, text)
}

pub(crate) const fn unknown(problem_type: &'static str, text: &'static str) -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, Some(problem_type), text)
}

/// A problem (RFC 9457).
#[derive(Serialize)]
struct ProblemBody<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    problem_type: Option<&'static str>,
    status: u16,
    title: Option<&'static str>,
    detail: &'a str,
    #[serde(flatten)]
    members: ProblemMembers,
}

impl HttpError {
    pub(crate) const NO_ROUTE: Self = Self::new(StatusCode::NOT_FOUND, None, "Not Found");
    pub(crate) const METHOD_NOT_ALLOWED: Self =
        Self::new(StatusCode::METHOD_NOT_ALLOWED, None, "Method Not Allowed");
    /// All users' purchases were requested from a service that does not list them.
    pub(crate) const NOT_FOR_EVERYONE: Self = denied(
        StatusCode::FORBIDDEN,
        "everyone=true is answered by management alone",
    );
    pub(crate) const UNKNOWN_HOST: Self = denied(
        StatusCode::MISDIRECTED_REQUEST,
        "This service is not configured for this host: name it in SHOP_HOSTS",
    );
    /// A page of another origin may not write.
    pub(crate) const FOREIGN_ORIGIN: Self =
        denied(StatusCode::FORBIDDEN, "Pages of this origin may not write");
    /// The credentials cannot be verified now.
    pub(crate) const UNVERIFIABLE: Self = of_kind(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unavailable,
        "Tokens cannot be verified now - please try again",
    );
    pub(crate) const UNKNOWN_PURCHASE: Self = unknown(
        problem::UNKNOWN_PURCHASE,
        "No purchase with this id is stored",
    );
    /// The refund is in the store, and its purchase is not.
    pub(crate) const WAITING_REFUND: Self = unknown(
        problem::UNKNOWN_PURCHASE,
        "This refund waits until its purchase is stored",
    );
    pub(crate) const ERASED_PURCHASE: Self = Self::new(
        StatusCode::GONE,
        Some(problem::ERASED),
        "The purchase with this id was erased",
    );
    pub(crate) const NOT_REFUNDABLE: Self = of_kind(
        StatusCode::CONFLICT,
        ErrorKind::Conflict,
        "Nothing was paid that can be refunded",
    );
    pub(crate) const UNKNOWN_DEAD_LETTER: Self = unknown(
        problem::UNKNOWN_DEAD_LETTER,
        "There is no pending dead letter at this position",
    );
    /// Events cannot continue at this cursor.
    pub(crate) const CURSOR_EXPIRED: Self = Self::new(
        StatusCode::GONE,
        Some(problem::CURSOR_EXPIRED),
        "The log does not continue at this Last-Event-ID: list the purchases, and read the events without it",
    );
    pub(crate) const NO_EVENTS: Self = unsupported("This service does not follow a log");
    pub(crate) const NO_NAMES: Self = unsupported("This store finds no names by their beginning");
    /// A route has panicked.
    pub(crate) const PANICKED: Self = of_kind(
        StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Internal,
        "Internal Server Error",
    );

    pub(crate) const fn new(
        status: StatusCode,
        kind: Option<&'static str>,
        text: &'static str,
    ) -> Self {
        Self {
            status,
            problem_type: kind,
            text: Cow::Borrowed(text),
            errors: Vec::new(),
            outcome: None,
            retry_after: RETRY_AFTER_SECONDS,
            wanted: None,
            failed: None,
        }
    }

    /// An error of this kind.
    pub(crate) fn of(
        status: StatusCode,
        kind: ErrorKind,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            text: text.into(),
            ..of_kind(status, kind, "")
        }
    }

    /// Something of the request is larger than allowed.
    pub(crate) fn too_large(status: StatusCode, text: String) -> Self {
        Self::of(status, ErrorKind::TooLarge, text)
    }

    /// The body is not a JSON object, or not JSON at all. The text of `error` says why.
    pub(crate) fn no_object(mut error: ValidationError) -> Self {
        error.text = format!("{BODY}must be a JSON object: {}", error.text);
        Self {
            errors: vec![error.clone()],
            ..Self::of(StatusCode::BAD_REQUEST, ErrorKind::Invalid, error.text)
        }
    }

    /// The media type or the encoding of the body is not supported; `wanted` says which ones are.
    pub(crate) fn media_type(header: HeaderName, value: &'static str, text: String) -> Self {
        Self {
            errors: vec![ValidationError::no_object(String::new(), text.clone())],
            wanted: Some(Box::new((header, value))),
            ..Self::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::Invalid, text)
        }
    }

    /// Whether the media type of the body is not that of JSON.
    pub(crate) fn is_of_media_type(&self) -> bool {
        self.wanted
            .as_ref()
            .is_some_and(|wanted| wanted.0 == ACCEPT_POST)
    }

    /// Members, parameters, a header or a part of the path are missing or invalid; at least one.
    pub(crate) fn invalid(errors: Vec<ValidationError>) -> Self {
        let text = in_short(texts(&errors));
        Self {
            errors,
            ..Self::of(StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::Invalid, text)
        }
    }

    /// The policy refuses the request, with this text. `by_token` says whether a token with more scopes would do.
    pub(crate) fn denied(by_token: bool, text: Cow<'static, str>) -> Self {
        let challenge = "Bearer error=\"insufficient_scope\"";
        Self {
            wanted: by_token.then(|| Box::new((header::WWW_AUTHENTICATE, challenge))),
            ..Self::of(StatusCode::FORBIDDEN, ErrorKind::Denied, text)
        }
    }

    /// The request has no valid credentials. The challenge is that of RFC 6750.
    pub(crate) fn unauthenticated(
        challenge: &'static str,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            wanted: Some(Box::new((header::WWW_AUTHENTICATE, challenge))),
            ..Self::of(StatusCode::UNAUTHORIZED, ErrorKind::Denied, text)
        }
    }

    /// There are too many concurrent requests; this one was not processed.
    pub(crate) fn overloaded(writes: bool) -> Self {
        let text = "Too many requests at once - please try again";
        Self {
            outcome: writes.then_some(Outcome::NotApplied),
            ..Self::of(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Overloaded, text)
        }
    }

    /// A purchase that this process has acknowledged is on its way to the store. Nothing was published for the request.
    pub(crate) fn not_stored_yet() -> Self {
        let text = "The purchase is not stored yet - please try again";
        Self {
            outcome: Some(Outcome::NotApplied),
            ..Self::of(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::Unavailable,
                text,
            )
        }
    }

    /// The client sends more than `rate` requests per second; this one was not processed.
    pub(crate) fn rate_exceeded(rate: u32, retry_after: Duration, writes: bool) -> Self {
        let what = if writes { "writes" } else { "reads" };
        let text =
            format!("Too many requests: at most {rate} {what} per second - please try again");
        // Rounded up: earlier is too early.
        let retry_after = retry_after.as_secs() + 1;
        Self {
            text: text.into(),
            retry_after,
            outcome: writes.then_some(Outcome::NotApplied),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                Some(problem::RATE_EXCEEDED),
                "",
            )
        }
    }

    /// The response did not begin within `deadline`.
    pub(crate) fn timed_out(deadline: Duration, writes: bool) -> Self {
        let text = format!("No answer within {} seconds", deadline.as_secs());
        Self {
            outcome: writes.then_some(Outcome::Unknown),
            ..Self::of(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorKind::DeadlineExceeded,
                text,
            )
        }
    }

    /// A write with `key` failed, or its outcome is unknown.
    pub(crate) fn write(error: Error, subject: Subject, key: IdempotencyKey) -> Self {
        let noun = subject.words()[0];
        let status = match error.kind() {
            ErrorKind::Conflict | ErrorKind::Erased => StatusCode::CONFLICT,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = match (error.kind(), error.outcome()) {
            (ErrorKind::Conflict, _) => key_taken(subject),
            (ErrorKind::Erased, _) => format!("The {noun} with this Idempotency-Key was erased"),
            (ErrorKind::TooLarge, _) => format!("The {noun} is too large for the log"),
            (ErrorKind::Invalid, _) => format!("The {noun} can never be stored"),
            (_, Outcome::NotApplied) => format!("The {noun} was not recorded: {UNAVAILABLE}"),
            _ => format!("It is not known whether the {noun} was recorded: {UNAVAILABLE}"),
        };
        Self {
            outcome: Some(error.outcome()),
            ..Self::of(status, error.kind(), text)
        }
        .failed(FailedCall {
            error,
            subject,
            key: Some(key),
        })
    }

    /// A query failed.
    pub(crate) fn query(error: Error, subject: Subject) -> Self {
        let (status, text) = match error.kind() {
            ErrorKind::DeadlineExceeded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Service timeout - please try again".into(),
            ),
            ErrorKind::Corrupt | ErrorKind::Internal => {
                let text = format!("Failed to fetch {}s", subject.words()[0]);
                (StatusCode::INTERNAL_SERVER_ERROR, text.into())
            }
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                Cow::Borrowed("Service unavailable"),
            ),
        };
        let kind = match error.kind() {
            // Not the request's fault: the service behind does not respond.
            ErrorKind::Invalid
            | ErrorKind::TooLarge
            | ErrorKind::Conflict
            | ErrorKind::Unsupported => ErrorKind::Unavailable,
            kind => kind,
        };
        Self::of(status, kind, text).failed(FailedCall {
            error,
            subject,
            key: None,
        })
    }

    fn failed(mut self, call: FailedCall) -> Self {
        if let Retry::After(time) = call.error.retry() {
            self.retry_after = time.as_secs().max(RETRY_AFTER_SECONDS);
        }
        Self {
            failed: Some(Arc::new(call)),
            ..self
        }
    }

    /// The key to repeat a write with.
    pub(crate) fn key(&self) -> Option<&IdempotencyKey> {
        self.failed.as_ref()?.key.as_ref()
    }

    /// Whether a write that failed fails again.
    pub(crate) fn is_final(&self) -> bool {
        use ErrorKind::{Conflict, Erased, Invalid, TooLarge};
        let kind = self.failed.as_ref().map(|call| call.error.kind());
        matches!(kind, Some(Invalid | Conflict | Erased | TooLarge))
    }

    pub(crate) fn outcome(&self) -> Option<&'static str> {
        self.outcome.map(ProblemMembers::outcome_name)
    }

    /// The entries of a problem.
    fn problem_errors(&self) -> Vec<ProblemError> {
        self.errors
            .iter()
            .filter_map(ValidationError::problem_error)
            .take(MAX_ERRORS)
            .collect()
    }

    /// The response with a problem.
    pub(crate) fn problem(&self) -> Response {
        let members = ProblemMembers {
            outcome: self.outcome().map(str::to_owned),
            idempotency_key: self.key().map(ToString::to_string),
            field: self
                .errors
                .first()
                .and_then(|error| error.location.name())
                .map(str::to_owned),
            errors: self.problem_errors(),
        };
        let problem = ProblemBody {
            problem_type: self.problem_type,
            status: self.status.as_u16(),
            title: self.status.canonical_reason(),
            detail: &self.text,
            members,
        };
        (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            Json(problem),
        )
            .into_response()
    }

    /// As a problem of one purchase of a batch.
    pub(crate) fn of_line(&self, line: usize) -> BatchResultBody {
        let key = self
            .key()
            .filter(|_| !self.is_final())
            .map(ToString::to_string);
        let status = if key.is_some() {
            BatchStatus::Unknown
        } else {
            BatchStatus::Rejected
        };
        let mut result = BatchResultBody::new(line, status);
        result.outcome = self.outcome().filter(|_| key.is_some()).map(str::to_owned);
        result.key = key;
        result.problem_type = self.problem_type.map(str::to_owned);
        result.detail = Some(
            self.text
                .strip_prefix(BODY)
                .unwrap_or(&self.text)
                .to_owned(),
        );
        result.errors = self.problem_errors();
        result
    }

    /// The failed call, for the log, with all that the client does not see.
    pub(crate) fn cause(&self) -> Option<Arc<FailedCall>> {
        self.failed
            .clone()
            .filter(|call| call.key.is_none() || !self.is_final())
    }
}

impl From<ValidationError> for HttpError {
    fn from(error: ValidationError) -> Self {
        Self::invalid(vec![error])
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(cause) = self.cause() {
            response.extensions_mut().insert(cause);
        }
        let headers = response.headers_mut();
        if matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        if let Some((name, value)) = self.wanted.as_deref() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(key) = self
            .key()
            .and_then(|key| HeaderValue::from_str(key.as_str()).ok())
        {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The text for a key that was used for another one.
pub(crate) fn key_taken(subject: Subject) -> String {
    format!(
        "The Idempotency-Key was used for another {}",
        subject.words()[0]
    )
}

/// All of `texts` in one line, truncated after the first few.
fn in_short(mut texts: Vec<String>) -> String {
    let more = texts.len().saturating_sub(MAX_TEXTS);
    texts.truncate(MAX_TEXTS);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

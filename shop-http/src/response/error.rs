//! The errors of requests, and their statuses and texts.
//!
//! Only this module maps the kinds of errors of the ports to statuses. There is one constant or
//! constructor per meaning. A handler returns an [`HttpError`], and the [`ErrorWriter`] of its
//! route writes the response: as a problem of RFC 9457, or in a form of the short paths.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shop_api::problem::{self, problem_type};
use shop_api::{BatchResultBody, BatchStatus, ProblemError, ProblemMembers};
use shop_core::ErrorKind::{
    Conflict, Corrupt, DeadlineExceeded, Denied, Erased, Internal, Overloaded, TooLarge,
    Unavailable, Unsupported,
};
use shop_core::{Blame, Error, ErrorKind, IdempotencyKey, Outcome, Retry};

use crate::header_names::{ACCEPT_POST, IDEMPOTENCY_KEY};
use crate::response::RequestKind;
use crate::response::validation_error::{ValidationError, error_texts};
use crate::service::kind::ServiceKind;

/// Writes the response with an error, in the form that the clients of a route expect.
pub type ErrorWriter = fn(&HttpError) -> Response;

/// The error of a request, as `/v1` reports it.
#[derive(Debug, Clone)]
pub struct HttpError {
    pub(crate) status: StatusCode,
    /// The status outside of `/v1`, if it differs.
    pub(crate) status_outside_v1: Option<StatusCode>,
    /// The type of the problem, from which our client restores the error. It names a specific
    /// problem, such as an unknown purchase, or else the kind of the error.
    pub(crate) problem_type: Option<&'static str>,
    /// The error in words, for people.
    pub(crate) text: Cow<'static, str>,
    /// The errors of an invalid request.
    pub(crate) errors: Vec<ValidationError>,
    /// The outcome of a write.
    outcome: Option<Outcome>,
    /// The time in seconds after which the client may repeat the request.
    retry_after_seconds: u64,
    /// A header that says what the client must send instead, or that a purchase is pending.
    header: Option<Box<(HeaderName, &'static str)>>,
    /// The call of a port that failed, if that is the cause.
    pub(crate) failed_call: Option<Arc<FailedCall>>,
}

/// A call of a port that failed, or whose outcome is unknown.
#[derive(Debug)]
pub(crate) struct FailedCall {
    pub(crate) error: Error,
    pub(crate) subject: Subject,
    /// The key to repeat a write with; `None` for a query.
    pub(crate) key: Option<IdempotencyKey>,
}

impl FailedCall {
    /// Returns the name of the failed operation, such as `write purchase`.
    pub(crate) fn operation(&self) -> &'static str {
        let [_noun, write_name, query_name] = self.subject.words();
        if self.key.is_some() {
            write_name
        } else {
            query_name
        }
    }
}

/// The subject of a request, for texts and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Purchases, in a service of this kind.
    Purchase(ServiceKind),
    /// Another subject: its noun, and the names of a failed write and a failed query in the log.
    Other([&'static str; 3]),
}

impl Subject {
    /// Pending dead letters.
    pub(crate) const DEAD_LETTER: Self =
        Self::Other(["dead letter", "resolve dead letters", "query dead letters"]);

    /// Returns the noun, and the names of a failed write and a failed query in the log.
    const fn words(self) -> [&'static str; 3] {
        match self {
            Self::Purchase(_) => ["purchase", "write purchase", "query purchases"],
            Self::Other(words) => words,
        }
    }

    /// Returns the noun in the singular.
    const fn noun(self) -> &'static str {
        self.words()[0]
    }
}

/// The default `Retry-After`, in seconds.
const DEFAULT_RETRY_AFTER_SECONDS: u64 = 1;
/// The maximum number of errors in a problem. A request body may contain thousands of errors.
const MAX_ERRORS: usize = 64;
/// The maximum number of errors in the text of a problem.
const MAX_TEXTS: usize = 8;
/// The start of the text about a body that is not a JSON object.
const BODY_PREFIX: &str = "Request body ";
/// The end of the text about a write that is not recorded, or not known to be recorded.
const UNAVAILABLE: &str = "the service behind is unavailable";

/// Creates the error of a request that this client may not send.
const fn denied(status: StatusCode, text: &'static str) -> HttpError {
    of_kind(status, Denied, text)
}

/// Creates an error with the problem type of `kind`.
const fn of_kind(status: StatusCode, kind: ErrorKind, text: &'static str) -> HttpError {
    HttpError::new(status, Some(problem_type(kind)), text)
}

/// Creates the error 501 of a request that this service or its store does not support.
const fn unsupported(text: &'static str) -> HttpError {
    of_kind(StatusCode::NOT_IMPLEMENTED, Unsupported, text)
}

/// Creates the error 404 for an entity that does not exist.
pub const fn not_found(problem_type: &'static str, text: &'static str) -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, Some(problem_type), text)
}

/// The body of a problem (RFC 9457).
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
    /// No route, file or role of this service answers the path.
    pub const NO_ROUTE: Self = Self::new(StatusCode::NOT_FOUND, None, "Not Found");
    /// The route does not answer the method.
    pub(crate) const METHOD_NOT_ALLOWED: Self =
        Self::new(StatusCode::METHOD_NOT_ALLOWED, None, "Method Not Allowed");
    /// All users' purchases were requested from a service that does not list them.
    pub(crate) const NOT_FOR_EVERYONE: Self = denied(
        StatusCode::FORBIDDEN,
        "everyone=true is answered by management alone",
    );
    /// The `Host` is not one of the configured hosts.
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
        Unavailable,
        "Tokens cannot be verified now - please try again",
    );
    /// The store contains no purchase with the id.
    pub(crate) const UNKNOWN_PURCHASE: Self = not_found(
        problem::UNKNOWN_PURCHASE,
        "No purchase with this id is stored",
    );
    /// The store applied another refund of the purchase.
    pub(crate) const OTHER_REFUND: Self = of_kind(
        StatusCode::CONFLICT,
        Conflict,
        "The purchase was refunded with another amount or reason",
    );
    /// The purchase was erased, and only its mark is left.
    pub(crate) const ERASED_PURCHASE: Self = Self::new(
        StatusCode::GONE,
        Some(problem::ERASED),
        "The purchase with this id was erased",
    );
    /// The purchase is free, or a refund itself.
    pub(crate) const NOT_REFUNDABLE: Self = of_kind(
        StatusCode::CONFLICT,
        Conflict,
        "Nothing was paid that can be refunded",
    );
    /// No dead letter is pending at the position.
    pub(crate) const UNKNOWN_DEAD_LETTER: Self = not_found(
        problem::UNKNOWN_DEAD_LETTER,
        "There is no pending dead letter at this position",
    );
    /// Events cannot continue at the cursor of the client: it is of another log, too far behind, or
    /// the log no longer contains its events.
    pub(crate) const CURSOR_EXPIRED: Self = Self::new(
        StatusCode::GONE,
        Some(problem::CURSOR_EXPIRED),
        "The log does not continue at this Last-Event-ID: list the purchases, and read the events without it",
    );
    /// The service provides no feed of events.
    pub(crate) const NO_EVENTS: Self = unsupported("This service does not follow a log");
    /// The store does not support the search for names.
    pub(crate) const NO_NAMES: Self = unsupported("This store finds no names by their beginning");
    /// A handler panicked.
    pub(crate) const PANICKED: Self = of_kind(
        StatusCode::INTERNAL_SERVER_ERROR,
        Internal,
        "Internal Server Error",
    );

    /// Creates an error with a constant text.
    pub const fn new(
        status: StatusCode,
        problem_type: Option<&'static str>,
        text: &'static str,
    ) -> Self {
        Self {
            status,
            status_outside_v1: None,
            problem_type,
            text: Cow::Borrowed(text),
            errors: Vec::new(),
            outcome: None,
            retry_after_seconds: DEFAULT_RETRY_AFTER_SECONDS,
            header: None,
            failed_call: None,
        }
    }

    /// Sets the status of this error outside of `/v1`, if it differs.
    pub const fn with_status_outside_v1(mut self, status: StatusCode) -> Self {
        self.status_outside_v1 = Some(status);
        self
    }

    /// Creates an error with the problem type of `kind`.
    pub(crate) fn with_kind(
        status: StatusCode,
        kind: ErrorKind,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            text: text.into(),
            ..of_kind(status, kind, "")
        }
    }

    /// Creates the error of a request with a part that is too large.
    pub(crate) fn too_large(status: StatusCode, text: String) -> Self {
        Self::with_kind(status, TooLarge, text)
    }

    /// Creates the error 400 of a body that is not a JSON object, or not JSON at all.
    ///
    /// The text of `error` says why.
    pub fn not_an_object(mut error: ValidationError) -> Self {
        error.text = format!("{BODY_PREFIX}must be a JSON object: {}", error.text);
        Self {
            errors: vec![error.clone()],
            ..Self::with_kind(StatusCode::BAD_REQUEST, ErrorKind::Invalid, error.text)
        }
    }

    /// Creates the error 415 of a body whose media type or encoding is not supported.
    ///
    /// The response says in the header `header_name` which ones are supported: `supported`.
    pub(crate) fn unsupported_media_type(
        header_name: HeaderName,
        supported: &'static str,
        text: String,
    ) -> Self {
        Self {
            errors: vec![ValidationError::no_object(String::new(), text.clone())],
            header: Some(Box::new((header_name, supported))),
            ..Self::with_kind(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::Invalid, text)
        }
    }

    /// Returns the errors of an invalid request, which are none for any other error.
    pub fn errors(&self) -> &[ValidationError] {
        &self.errors
    }

    /// Returns whether the body was refused because its media type is not the one of JSON.
    pub fn is_unsupported_media_type(&self) -> bool {
        self.header
            .as_ref()
            .is_some_and(|header| header.0 == ACCEPT_POST)
    }

    /// Creates the error 422 of a request in which at least one part is missing or invalid.
    ///
    /// A part is a member, a parameter, a header or a segment of the path.
    pub(crate) fn invalid(errors: Vec<ValidationError>) -> Self {
        let text = join_first(error_texts(&errors));
        Self {
            errors,
            ..Self::with_kind(StatusCode::UNPROCESSABLE_ENTITY, ErrorKind::Invalid, text)
        }
    }

    /// Creates the error 403 of a request that the policy refuses.
    ///
    /// `requires_token` says whether requests need a token. If so, the response tells the client that
    /// its token lacks a scope.
    pub(crate) fn denied(requires_token: bool, text: Cow<'static, str>) -> Self {
        let challenge = "Bearer error=\"insufficient_scope\"";
        Self {
            header: requires_token.then(|| Box::new((header::WWW_AUTHENTICATE, challenge))),
            ..Self::with_kind(StatusCode::FORBIDDEN, Denied, text)
        }
    }

    /// Creates the error 401 of a request without valid credentials, with a challenge of RFC 6750.
    pub(crate) fn unauthenticated(
        challenge: &'static str,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            header: Some(Box::new((header::WWW_AUTHENTICATE, challenge))),
            ..Self::with_kind(StatusCode::UNAUTHORIZED, Denied, text)
        }
    }

    /// Creates the error 503 of a request that was not processed: there were too many at once.
    pub(crate) fn overloaded(kind: RequestKind) -> Self {
        let text = "Too many requests at once - please try again";
        Self {
            outcome: kind.outcome_of_write(Outcome::NotApplied),
            ..Self::with_kind(StatusCode::SERVICE_UNAVAILABLE, Overloaded, text)
        }
    }

    /// Creates the error 503 of a refund whose purchase was acknowledged, and is not stored yet.
    ///
    /// Nothing was published for the request.
    pub(crate) fn not_stored_yet() -> Self {
        let text = "The purchase is not stored yet - please try again";
        Self {
            outcome: Some(Outcome::NotApplied),
            ..Self::with_kind(StatusCode::SERVICE_UNAVAILABLE, Unavailable, text)
        }
    }

    /// Creates the error 429 of a request that was not processed, because the client sends more than
    /// `max_per_second` requests of this kind per second.
    pub(crate) fn rate_exceeded(
        max_per_second: u32,
        retry_after: Duration,
        kind: RequestKind,
    ) -> Self {
        let text = format!(
            "Too many requests: at most {max_per_second} {} per second - please try again",
            kind.plural()
        );
        // The next whole second, because a request before the end of the time would be refused
        // again.
        let retry_after_seconds = retry_after.as_secs() + 1;
        Self {
            text: text.into(),
            retry_after_seconds,
            outcome: kind.outcome_of_write(Outcome::NotApplied),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                Some(problem::RATE_EXCEEDED),
                "",
            )
        }
    }

    /// Creates the error 503 of a request whose response did not begin within `timeout`.
    pub(crate) fn timed_out(timeout: Duration, kind: RequestKind) -> Self {
        let text = format!("No answer within {} seconds", timeout.as_secs());
        Self {
            outcome: kind.outcome_of_write(Outcome::Unknown),
            ..Self::with_kind(StatusCode::SERVICE_UNAVAILABLE, DeadlineExceeded, text)
        }
    }

    /// Creates the error of a write with `key` that failed, or whose outcome is unknown.
    pub fn failed_write(error: Error, subject: Subject, key: IdempotencyKey) -> Self {
        let noun = subject.noun();
        let status = match error.kind() {
            Conflict | Erased => StatusCode::CONFLICT,
            TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Unsupported => StatusCode::NOT_IMPLEMENTED,
            Corrupt | Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = match (error.kind(), error.outcome()) {
            (Conflict, _) => key_taken_text(subject),
            (Erased, _) => format!("The {noun} with this Idempotency-Key was erased"),
            (TooLarge, _) => format!("The {noun} is too large for the log"),
            (ErrorKind::Invalid, _) => format!("The {noun} can never be stored"),
            (_, Outcome::NotApplied) => format!("The {noun} was not recorded: {UNAVAILABLE}"),
            _ => format!("It is not known whether the {noun} was recorded: {UNAVAILABLE}"),
        };
        Self {
            outcome: Some(error.outcome()),
            ..Self::with_kind(status, error.kind(), text)
        }
        .caused_by(FailedCall {
            error,
            subject,
            key: Some(key),
        })
    }

    /// Creates the error 409 of an idempotency key that was used for another `subject`.
    pub fn key_taken(problem_type: &'static str, subject: Subject) -> Self {
        Self {
            text: key_taken_text(subject).into(),
            ..Self::new(StatusCode::CONFLICT, Some(problem_type), "")
        }
    }

    /// Creates the error of a query that failed.
    pub fn failed_query(error: Error, subject: Subject) -> Self {
        let status = match error.kind() {
            Corrupt | Internal => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text: Cow<'static, str> = match error.kind() {
            DeadlineExceeded => "Service timeout - please try again".into(),
            Corrupt | Internal => format!("Failed to fetch {}s", subject.noun()).into(),
            _ => "Service unavailable".into(),
        };
        let kind = match error.kind() {
            // The client is not at fault: the log or the store does not respond as it should.
            ErrorKind::Invalid | TooLarge | Conflict | Unsupported => Unavailable,
            kind => kind,
        };
        Self::with_kind(status, kind, text).caused_by(FailedCall {
            error,
            subject,
            key: None,
        })
    }

    /// Adds the failed `call` of a port, and the pause that its error asks for.
    fn caused_by(mut self, call: FailedCall) -> Self {
        if let Retry::After(pause) = call.error.retry() {
            self.retry_after_seconds = pause.as_secs().max(DEFAULT_RETRY_AFTER_SECONDS);
        }
        self.failed_call = Some(Arc::new(call));
        self
    }

    /// Adds the header that says that a purchase is pending, if there is one.
    pub(crate) fn with_pending(mut self, pending: Option<[(HeaderName, &'static str); 1]>) -> Self {
        if let Some([header]) = pending {
            self.header = Some(Box::new(header));
        }
        self
    }

    /// Returns the key to repeat a write with.
    pub(crate) fn key(&self) -> Option<&IdempotencyKey> {
        self.failed_call.as_ref()?.key.as_ref()
    }

    /// Returns whether a write that failed would fail again, because the client is to blame.
    pub(crate) fn is_final(&self) -> bool {
        self.failed_call
            .as_ref()
            .is_some_and(|call| call.error.kind().blame() == Blame::Caller)
    }

    /// Returns the name of the outcome of a write.
    pub(crate) fn outcome(&self) -> Option<&'static str> {
        self.outcome.map(ProblemMembers::outcome_name)
    }

    /// Returns the first [`MAX_ERRORS`] errors of an invalid request, as members of a problem.
    fn problem_errors(&self) -> Vec<ProblemError> {
        self.errors
            .iter()
            .filter_map(ValidationError::problem_error)
            .take(MAX_ERRORS)
            .collect()
    }

    /// Returns the response with this error as a problem. It is the [`ErrorWriter`] of `/v1`.
    pub fn problem(&self) -> Response {
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
        let media_type = [(header::CONTENT_TYPE, "application/problem+json")];
        self.respond((self.status, media_type, Json(problem)))
    }

    /// Returns the response with this `body` and its status, and with the headers that this error
    /// sets in every form. The failed call is added to the extensions, for the log.
    pub(crate) fn respond(&self, body: impl IntoResponse) -> Response {
        let mut response = body.into_response();
        if let Some(cause) = self.cause() {
            response.extensions_mut().insert(cause);
        }

        let headers = response.headers_mut();
        if matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            let retry_after = HeaderValue::from(self.retry_after_seconds);
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        if let Some((name, value)) = self.header.as_deref() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // Every key is visible ASCII, and so a valid value.
        if let Some(key) = self.key()
            && let Ok(value) = HeaderValue::from_str(key.as_str())
        {
            headers.insert(IDEMPOTENCY_KEY, value);
        }
        response
    }

    /// Converts this error to the result of the purchase at `line` of a batch.
    ///
    /// A failed write that may succeed when it is repeated, which has a key and is not
    /// [final](Self::is_final), gets the status `Unknown`, its outcome, and its key. All other
    /// errors get the status `Rejected`.
    pub(crate) fn to_batch_result(&self, line: usize) -> BatchResultBody {
        let mut result = BatchResultBody::new(line, BatchStatus::Rejected);
        if let Some(key) = self.key()
            && !self.is_final()
        {
            result.status = BatchStatus::Unknown;
            result.outcome = self.outcome().map(str::to_owned);
            result.key = Some(key.to_string());
        }

        result.problem_type = self.problem_type.map(str::to_owned);
        // The text may begin with "Request body", but the result is about one line of the body.
        let text_about_line = self.text.strip_prefix(BODY_PREFIX).unwrap_or(&self.text);
        result.detail = Some(text_about_line.to_owned());
        result.errors = self.problem_errors();
        result
    }

    /// Returns the failed call for the log, which says what the client does not see.
    ///
    /// Returns `None` for a write whose error is final: the fault is the client's.
    pub(crate) fn cause(&self) -> Option<Arc<FailedCall>> {
        self.failed_call
            .clone()
            .filter(|call| call.key.is_none() || !self.is_final())
    }
}

impl From<ValidationError> for HttpError {
    fn from(error: ValidationError) -> Self {
        Self::invalid(vec![error])
    }
}

/// Returns the text of the error of an idempotency key that was used for another `subject`.
fn key_taken_text(subject: Subject) -> String {
    format!(
        "The Idempotency-Key was used for another {}",
        subject.noun()
    )
}

/// Joins the first [`MAX_TEXTS`] of `texts` to one line, and appends how many more there are.
fn join_first(mut texts: Vec<String>) -> String {
    let omitted_count = texts.len().saturating_sub(MAX_TEXTS);
    texts.truncate(MAX_TEXTS);
    if omitted_count > 0 {
        texts.push(format!("and {omitted_count} more"));
    }
    texts.join("; ")
}

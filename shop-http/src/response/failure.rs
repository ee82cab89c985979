//! Failures of requests, with their status and their body in each dialect. Only this module maps kinds of errors to
//! statuses.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use problem_details::ProblemDetails;
use serde_json::{Value, json};
use shop_core::api::problem::{self, problem_type};
use shop_core::api::{ProblemError, ProblemMembers};
use shop_core::{Error, ErrorKind, IdempotencyKey, Outcome, Retry};

use crate::auth::Credentials;
use crate::dialect::{Dialect, Errors, Outage};
use crate::header_names::IDEMPOTENCY_KEY;
use crate::response::failure_log::FailedBy;
use crate::response::json::Json;
use crate::response::validation_error::{InvalidField, InvalidMember, InvalidValue, NoObject};
use crate::server::gate::HeadFault;
use crate::service::ServiceKind;

/// The failure of a request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The body is not a JSON object, or not JSON at all.
    Syntax(String, NoObject),
    /// The body is JSON, but empty.
    EmptyBody,
    /// Members of the body are missing or invalid; at least one.
    Body(Vec<InvalidMember>),
    /// Values of a body or of a path are missing or invalid, each with its own entry; at least one.
    Values(Vec<InvalidValue>),
    /// Parameters, a header or a part of the path are invalid; at least one.
    Fields(Vec<InvalidField>),
    /// All users' purchases were requested from a service that does not list them.
    NotForEveryone,
    /// The policy refuses the request, with this text.
    Denied(Cow<'static, str>),
    /// The request has no valid credentials.
    Unauthenticated(Credentials),
    /// The credentials cannot be verified now.
    Unverifiable,
    /// The media type of the body is not JSON.
    MediaType(String),
    /// The media type of a batch is neither NDJSON nor JSON.
    BatchMediaType(String),
    /// The body of a batch is not a JSON array.
    NoArray(String),
    /// The batch has more purchases than this.
    TooManyPurchases(usize),
    /// The body is compressed or encoded in another way.
    ContentEncoding,
    /// The path and the query have more bytes than this.
    UriTooLong(usize),
    /// The headers have more bytes than this.
    HeadersTooLarge(usize),
    /// The body has more bytes than this.
    BodyTooLarge(usize),
    /// The body was not received within this time.
    BodyTooSlow(Duration),
    /// The head of the request breaks a rule of HTTP.
    Head(HeadFault),
    /// The request names a host that is not one of the service.
    UnknownHost,
    /// A page of another origin may not write.
    ForeignOrigin,
    /// The path does not exist.
    NoRoute,
    /// No purchase with this id is stored.
    UnknownPurchase,
    /// The purchase with this id was erased.
    ErasedPurchase,
    /// There is no pending dead letter at this position.
    UnknownDeadLetter,
    /// Events cannot continue at this cursor.
    CursorExpired,
    /// The service has no log whose events it could serve.
    NoEvents,
    /// There is no such user, or its event has not been received yet.
    UnknownUser,
    /// There is no such order.
    UnknownOrder,
    /// Another user has the email address.
    EmailTaken,
    /// The key was used for another one of these.
    KeyTaken(Subject),
    /// The path does not have this method.
    MethodNotAllowed,
    /// A write failed, or its outcome is unknown.
    Write { error: Error, key: IdempotencyKey, of: Subject },
    /// A query failed.
    Query(Error, Subject),
    /// There are too many concurrent requests; this one was not processed.
    Overloaded { writes: bool },
    /// The client has sent more than this many per second, reads or writes; this one was not processed.
    RateExceeded { rate: NonZeroU32, retry_after: Duration, writes: bool },
    /// The response did not begin within this time.
    TimedOut { deadline: Duration, writes: bool },
    /// A route has panicked.
    Panicked,
}

/// The subject of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Purchases, in a service of this kind.
    Purchase(ServiceKind),
    User,
    Order,
    DeadLetter,
}

impl Subject {
    /// The noun, and the names of a failed write and a failed query in the log.
    const fn words(self) -> [&'static str; 3] {
        match self {
            Self::Purchase(_) => ["purchase", "write purchase", "query purchases"],
            Self::User => ["user", "write user", "query users"],
            Self::Order => ["order", "write order", "query orders"],
            Self::DeadLetter => ["dead letter", "resolve dead letters", "query dead letters"],
        }
    }

    /// The noun.
    pub(super) const fn noun(self) -> &'static str {
        self.words()[0]
    }

    /// The text for a key that was used for another one.
    pub(super) fn key_taken(self) -> String {
        format!("The Idempotency-Key was used for another {}", self.noun())
    }
}

/// The default `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The maximum number of entries: a body has room for thousands of errors.
const MAX_ERRORS: usize = 64;
impl From<InvalidField> for Failure {
    fn from(wrong: InvalidField) -> Self {
        Self::Fields(vec![wrong])
    }
}

impl Failure {
    /// The member or the parameter `field` is invalid.
    pub(crate) fn field(field: &'static str, problem: impl std::fmt::Display) -> Self {
        InvalidField::new(field, problem).into()
    }

    /// The response in `dialect`.
    pub(crate) fn respond(&self, dialect: &Dialect) -> Response {
        let (status, problem_type) = self.status_and_type(dialect);
        let mut response = match dialect.errors {
            Errors::Problem => self.problem(status, problem_type, dialect).into_response(),
            _ => (status, Json(self.object(dialect))).into_response(),
        };
        let headers = response.headers_mut();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after()));
        }
        if let Self::Unauthenticated(credentials) = self {
            headers.insert(header::WWW_AUTHENTICATE, challenge(credentials));
        }
        if let Self::Write { key, .. } = self
            && let Ok(key) = HeaderValue::from_str(key.as_str())
        {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        if let Some(failed_by) = self.cause() {
            response.extensions_mut().insert(failed_by);
        }
        response
    }

    /// The status, and the problem type: that of an outcome that our client recognises, or that of the kind of error,
    /// so that the client restores the error of the port.
    pub(super) fn status_and_type(&self, dialect: &Dialect) -> (StatusCode, Option<&'static str>) {
        let of = |kind| Some(problem_type(kind));
        match self {
            Self::Syntax(..) | Self::NoArray(_) => (dialect.no_object, of(ErrorKind::Invalid)),
            Self::EmptyBody | Self::Body(_) | Self::Values(_) | Self::Fields(_) => {
                (dialect.invalid, of(ErrorKind::Invalid))
            }
            Self::MediaType(_) | Self::BatchMediaType(_) | Self::ContentEncoding => {
                (dialect.no_json, of(ErrorKind::Invalid))
            }
            Self::NotForEveryone | Self::Denied(_) => (StatusCode::FORBIDDEN, of(ErrorKind::Denied)),
            Self::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, of(ErrorKind::Denied)),
            Self::Unverifiable => (StatusCode::SERVICE_UNAVAILABLE, of(ErrorKind::Unavailable)),
            Self::UriTooLong(_) => (StatusCode::URI_TOO_LONG, of(ErrorKind::TooLarge)),
            Self::HeadersTooLarge(_) => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, of(ErrorKind::TooLarge))
            }
            Self::BodyTooLarge(_) | Self::TooManyPurchases(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, of(ErrorKind::TooLarge))
            }
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, of(ErrorKind::DeadlineExceeded)),
            Self::Head(HeadFault::Host) => (StatusCode::BAD_REQUEST, of(ErrorKind::Invalid)),
            Self::Head(HeadFault::TransferEncoding) => {
                (StatusCode::NOT_IMPLEMENTED, of(ErrorKind::Unsupported))
            }
            Self::Head(HeadFault::Expect) => (StatusCode::EXPECTATION_FAILED, of(ErrorKind::Invalid)),
            Self::UnknownHost => (StatusCode::MISDIRECTED_REQUEST, of(ErrorKind::Denied)),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, of(ErrorKind::Denied)),
            Self::NoRoute => (StatusCode::NOT_FOUND, None),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::UnknownPurchase => (StatusCode::NOT_FOUND, Some(problem::UNKNOWN_PURCHASE)),
            Self::ErasedPurchase => (StatusCode::GONE, of(ErrorKind::Erased)),
            Self::UnknownDeadLetter => (StatusCode::NOT_FOUND, Some(problem::UNKNOWN_DEAD_LETTER)),
            Self::CursorExpired => (StatusCode::GONE, Some(problem::CURSOR_EXPIRED)),
            Self::NoEvents => (StatusCode::NOT_IMPLEMENTED, of(ErrorKind::Unsupported)),
            Self::UnknownUser => (StatusCode::NOT_FOUND, Some(problem::UNKNOWN_USER)),
            Self::UnknownOrder => (StatusCode::NOT_FOUND, Some(problem::UNKNOWN_ORDER)),
            Self::EmailTaken if dialect.errors == Errors::Problem => {
                (StatusCode::CONFLICT, Some(problem::EMAIL_TAKEN))
            }
            // As in the replaced system.
            Self::EmailTaken => (StatusCode::BAD_REQUEST, None),
            Self::KeyTaken(_) => (StatusCode::CONFLICT, Some(problem::KEY_TAKEN)),
            Self::Write { error, of: subject, .. } => {
                (status_of_write(error.kind(), *subject, dialect), of(error.kind()))
            }
            Self::Query(error, subject) => {
                let status = status_of_query(error.kind(), outage(*subject, dialect));
                // Not the request's fault: the service behind does not respond.
                let is_fault = matches!(
                    error.kind(),
                    ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Conflict | ErrorKind::Unsupported
                );
                (status, of(if is_fault { ErrorKind::Unavailable } else { error.kind() }))
            }
            Self::Overloaded { .. } => (StatusCode::SERVICE_UNAVAILABLE, of(ErrorKind::Overloaded)),
            Self::RateExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, of(ErrorKind::Overloaded)),
            Self::TimedOut { .. } => (StatusCode::SERVICE_UNAVAILABLE, of(ErrorKind::DeadlineExceeded)),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, of(ErrorKind::Internal)),
        }
    }

    fn retry_after(&self) -> u64 {
        match self {
            Self::Write { error, .. } | Self::Query(error, _) => match error.retry() {
                Retry::After(time) => time.as_secs().max(RETRY_AFTER_SECONDS),
                _ => RETRY_AFTER_SECONDS,
            },
            // Rounded up: earlier is too early.
            Self::RateExceeded { retry_after, .. } => retry_after.as_secs() + 1,
            _ => RETRY_AFTER_SECONDS,
        }
    }

    pub(super) fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Write { error, .. } => Some(ProblemMembers::outcome_word(error.outcome())),
            Self::Overloaded { writes: true } | Self::RateExceeded { writes: true, .. } => {
                Some(ProblemMembers::outcome_word(Outcome::NotApplied))
            }
            Self::TimedOut { writes: true, .. } => Some(ProblemMembers::outcome_word(Outcome::Unknown)),
            _ => None,
        }
    }

    /// The body, where it is an object of the dialect.
    fn object(&self, dialect: &Dialect) -> Value {
        let text = self.text(dialect);
        let mut body = match dialect.errors {
            Errors::StatusAndMessage => json!({"status": "Error", "message": text}),
            Errors::Detail => json!({"detail": self.list(&text).map_or(text.into(), Value::Array)}),
            Errors::Text | Errors::Problem => json!({"error": text}),
        };
        if let Some(outcome) = self.outcome() {
            body["outcome"] = outcome.into();
        }
        if let Self::Write { key, .. } = self {
            body["idempotency_key"] = key.as_str().into();
        }
        body
    }

    /// The entries of an invalid request.
    fn list(&self, text: &str) -> Option<Vec<Value>> {
        match self {
            Self::Body(wrong) => Some(wrong.iter().map(InvalidMember::entry).collect()),
            Self::Values(wrong) => Some(wrong.iter().map(InvalidValue::entry).collect()),
            Self::Syntax(_, why) => Some(vec![why.entry(text)]),
            Self::MediaType(_) | Self::ContentEncoding => Some(vec![NoObject::MediaType.entry(text)]),
            Self::Fields(wrong) => Some(wrong.iter().map(InvalidField::entry).collect()),
            _ => None,
        }
    }

    /// The entries of a problem.
    pub(super) fn errors(&self) -> Vec<ProblemError> {
        match self {
            Self::Fields(wrong) => wrong.iter().take(MAX_ERRORS).map(InvalidField::problem_error).collect(),
            Self::Body(wrong) => wrong.iter().take(MAX_ERRORS).map(InvalidMember::problem_error).collect(),
            _ => Vec::new(),
        }
    }

    fn problem(
        &self,
        status: StatusCode,
        problem_type: Option<&'static str>,
        dialect: &Dialect,
    ) -> ProblemDetails<ProblemMembers> {
        let mut members = ProblemMembers::default();
        members.outcome = self.outcome().map(str::to_owned);
        match self {
            Self::Write { key, .. } => members.idempotency_key = Some(key.to_string()),
            Self::Fields(wrong) => members.field = wrong.first().map(|wrong| wrong.field.to_string()),
            Self::Body(wrong) => members.field = wrong.first().map(|wrong| wrong.member.to_string()),
            _ => {}
        }
        members.errors = self.errors();
        let problem =
            ProblemDetails::from_status_code(status).with_detail(self.text(dialect)).with_extensions(members);
        match problem_type {
            Some(uri) => problem.with_type(Uri::from_static(uri)),
            None => problem,
        }
    }

    /// The error of a port, for the log, with all that the client does not see.
    pub(crate) fn cause(&self) -> Option<FailedBy> {
        let (error, operation) = match self {
            Self::Write { error, .. } if is_final(error.kind()) => return None,
            Self::Write { error, of, .. } => (error, of.words()[1]),
            Self::Query(error, of) => (error, of.words()[2]),
            _ => return None,
        };
        Some(FailedBy { error: error.clone(), operation })
    }
}

/// Whether a write that failed with this kind of error fails again.
pub(super) const fn is_final(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Erased | ErrorKind::TooLarge)
}

/// The challenge of a 401 (RFC 6750).
fn challenge(credentials: &Credentials) -> HeaderValue {
    match credentials {
        Credentials::Missing => HeaderValue::from_static("Bearer"),
        Credentials::Invalid(_) => HeaderValue::from_static("Bearer error=\"invalid_token\""),
    }
}

/// The response of `dialect` to a failed write.
pub(super) const fn not_taken(of: Subject, dialect: &Dialect) -> Outage {
    match of {
        Subject::Purchase(ServiceKind::Facing) => dialect.outages.publish,
        _ => dialect.outages.write,
    }
}

/// The response of `dialect` to a failed query, if the kind of the error makes no difference.
pub(super) const fn outage(of: Subject, dialect: &Dialect) -> Option<Outage> {
    match of {
        Subject::Purchase(ServiceKind::Facing) => dialect.outages.query,
        _ => dialect.outages.read,
    }
}

const fn status_of_write(kind: ErrorKind, of: Subject, dialect: &Dialect) -> StatusCode {
    match kind {
        ErrorKind::Invalid => dialect.invalid,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Conflict | ErrorKind::Erased => StatusCode::CONFLICT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => not_taken(of, dialect).status,
    }
}

const fn status_of_query(kind: ErrorKind, outage: Option<Outage>) -> StatusCode {
    match (outage, kind) {
        (Some(outage), _) => outage.status,
        (None, ErrorKind::Corrupt | ErrorKind::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
        (None, _) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

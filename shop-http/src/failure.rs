//! What can go wrong with a request, and how each dialect says so. The only place that knows which kind of
//! error has which status.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use problem_details::ProblemDetails;
use serde_json::{Map, Value};
use shop_core::json::{ProblemMembers, UNKNOWN_PURCHASE, problem_type};
use shop_core::{Error, ErrorKind, IdempotencyKey, Outcome, Retry};

use crate::dialect::{Dialect, Errors, Missing, Outage};
use crate::header_names::IDEMPOTENCY_KEY;
use crate::json_answer::Json;
use crate::service::Role;
use crate::wrong_body::{NoObject, Problem, WrongMember, entry_of_field};

/// What went wrong with a request.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The body is no JSON object, or no JSON at all.
    Syntax(String, NoObject),
    /// The body is JSON, but says nothing.
    EmptyBody,
    /// Members of the body are absent or wrong; at least one.
    Body(Vec<WrongMember>),
    /// A parameter, a header or a part of the path is wrong.
    Field { field: &'static str, text: String },
    /// The body is said to be something else than JSON.
    MediaType(String),
    /// The body is compressed, or encoded in another way.
    ContentEncoding,
    /// The path and the query have more bytes than this.
    UriTooLong(usize),
    /// The headers have more bytes than this.
    HeadersTooLarge(usize),
    /// The body has more bytes than this.
    BodyTooLarge(usize),
    /// The body did not come within this time.
    BodyTooSlow(Duration),
    /// There is nothing at this path.
    NoRoute,
    /// No purchase with this id is stored.
    UnknownPurchase,
    /// The path has no such method.
    MethodNotAllowed,
    /// A purchase was not taken.
    Buy { error: Error, key: IdempotencyKey, role: Role },
    /// A question was not answered.
    Query(Error, Role),
    /// There are too many requests at once, so nothing was done about this one.
    Overloaded { buys: bool },
    /// The answer did not begin within this time.
    TimedOut { deadline: Duration, buys: bool },
    /// A route has panicked.
    Panicked,
}

/// What is said of anything that lacks, where all that is required is named.
const ALL_REQUIRED: &str = "Missing required fields: username, userid, price";
/// The seconds after which a client may come again, unless the error says more.
const RETRY_AFTER_SECONDS: u64 = 1;

impl Failure {
    /// The member `field`, or the parameter of that name, is wrong.
    pub(crate) fn field(field: &'static str, problem: impl std::fmt::Display) -> Self {
        Self::Field { field, text: format!("{field} {problem}") }
    }

    /// The error of a port that it is about.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Buy { error, .. } | Self::Query(error, _) => error,
            other => Error::new(ErrorKind::Invalid, other.text(Dialect::default_dialect())),
        }
    }

    /// The status, the media type and the body of the answer in `dialect`, as the document shows them.
    pub(crate) fn shown(&self, dialect: &Dialect) -> (StatusCode, &'static str, Value) {
        let status = self.status(dialect);
        match dialect.errors {
            Errors::Text | Errors::StatusAndMessage | Errors::Detail => {
                (status, "application/json", self.object(dialect).into())
            }
            Errors::Problem => {
                let problem = serde_json::to_value(self.problem(status, dialect));
                (status, "application/problem+json", problem.unwrap_or_default())
            }
        }
    }

    /// The answer in `dialect`.
    pub(crate) fn respond(&self, dialect: &Dialect) -> Response {
        self.log();
        let status = self.status(dialect);
        let mut response = match dialect.errors {
            Errors::Text | Errors::StatusAndMessage | Errors::Detail => {
                (status, Json(self.object(dialect))).into_response()
            }
            Errors::Problem => self.problem(status, dialect).into_response(),
        };
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after()));
        }
        if let Self::Buy { key, .. } = self
            && let Ok(key) = HeaderValue::from_str(key.as_str())
        {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        response
    }

    fn status(&self, dialect: &Dialect) -> StatusCode {
        match self {
            Self::Syntax(..) => dialect.no_object,
            Self::EmptyBody | Self::Body(_) | Self::Field { .. } => dialect.invalid,
            Self::MediaType(_) | Self::ContentEncoding => dialect.no_json,
            Self::UriTooLong(_) => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute | Self::UnknownPurchase => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Buy { error, role, .. } => status_of_buy(error.kind(), *role, dialect),
            Self::Query(error, role) => status_of_query(error.kind(), outage(*role, dialect)),
            Self::Overloaded { .. } | Self::TimedOut { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The kind that a problem's type names, so that our client gets back what the port said.
    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Syntax(..)
            | Self::EmptyBody
            | Self::Body(_)
            | Self::Field { .. }
            | Self::MediaType(_)
            | Self::ContentEncoding => Some(ErrorKind::Invalid),
            Self::BodyTooLarge(_) | Self::UriTooLong(_) | Self::HeadersTooLarge(_) => {
                Some(ErrorKind::TooLarge)
            }
            Self::BodyTooSlow(_) | Self::TimedOut { .. } => Some(ErrorKind::DeadlineExceeded),
            Self::Overloaded { .. } => Some(ErrorKind::Overloaded),
            Self::NoRoute | Self::UnknownPurchase | Self::MethodNotAllowed => None,
            Self::Buy { error, .. } => Some(error.kind()),
            // Whoever asks has done nothing wrong: it is what stands behind that does not serve.
            Self::Query(error, _) => match error.kind() {
                ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Conflict | ErrorKind::Unsupported => {
                    Some(ErrorKind::Unavailable)
                }
                kind => Some(kind),
            },
            Self::Panicked => Some(ErrorKind::Internal),
        }
    }

    fn retry_after(&self) -> u64 {
        match self {
            Self::Buy { error, .. } | Self::Query(error, _) => match error.retry() {
                Retry::After(time) => time.as_secs().max(RETRY_AFTER_SECONDS),
                _ => RETRY_AFTER_SECONDS,
            },
            _ => RETRY_AFTER_SECONDS,
        }
    }

    /// What is said to the client: the text of the replaced systems where they had one, and never what a
    /// driver said.
    fn text(&self, dialect: &Dialect) -> String {
        match self {
            Self::Syntax(_, NoObject::Nothing) if dialect.missing == Missing::AllRequired => {
                ALL_REQUIRED.to_owned()
            }
            Self::Syntax(detail, _) => format!("Request body must be a JSON object: {detail}"),
            Self::EmptyBody => "Request body must be JSON".to_owned(),
            Self::Body(wrong) => text_of_body(wrong, dialect),
            Self::Field { text, .. } => text.clone(),
            Self::MediaType(given) => format!("Content-Type must be application/json, not {given}"),
            Self::ContentEncoding => {
                "Content-Encoding must be left out: the body is read as it is".to_owned()
            }
            Self::UriTooLong(limit) => format!("Path and query must not have more than {limit} bytes"),
            Self::HeadersTooLarge(limit) => {
                format!("Headers must not have more than {limit} bytes together")
            }
            Self::BodyTooLarge(limit) => format!("Request body must not have more than {limit} bytes"),
            Self::BodyTooSlow(time) => format!("Request body must be sent within {} seconds", time.as_secs()),
            Self::NoRoute => "Not Found".to_owned(),
            Self::UnknownPurchase => "No purchase with this id is stored".to_owned(),
            Self::MethodNotAllowed => "Method Not Allowed".to_owned(),
            Self::Buy { error, role, .. } => match error.kind() {
                ErrorKind::Conflict => "The Idempotency-Key was used for another purchase".to_owned(),
                ErrorKind::TooLarge => "The purchase is too large for the log".to_owned(),
                ErrorKind::Invalid => "The purchase can never be stored".to_owned(),
                _ => not_taken(*role, dialect).text.to_owned(),
            },
            Self::Query(error, role) => match (outage(*role, dialect), error.kind()) {
                (Some(outage), _) => outage.text.to_owned(),
                (None, ErrorKind::DeadlineExceeded) => "Service timeout - please try again".to_owned(),
                (None, ErrorKind::Corrupt | ErrorKind::Internal) => "Failed to fetch purchases".to_owned(),
                (None, _) => "Service unavailable".to_owned(),
            },
            Self::Overloaded { .. } => "Too many requests at once - please try again".to_owned(),
            Self::TimedOut { deadline, .. } => format!("No answer within {} seconds", deadline.as_secs()),
            Self::Panicked => "Internal Server Error".to_owned(),
        }
    }

    fn outcome(&self) -> Option<&'static str> {
        match self {
            Self::Buy { error, .. } => Some(ProblemMembers::outcome_word(error.outcome())),
            Self::Overloaded { buys: true } => Some(ProblemMembers::outcome_word(Outcome::NotApplied)),
            Self::TimedOut { buys: true, .. } => Some(ProblemMembers::outcome_word(Outcome::Unknown)),
            _ => None,
        }
    }

    /// The body, where it is an object of the dialect's own.
    fn object(&self, dialect: &Dialect) -> Map<String, Value> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        let text = self.text(dialect);
        match dialect.errors {
            Errors::StatusAndMessage => {
                put("status", "Error".into());
                put("message", text.into());
            }
            Errors::Detail => {
                put("detail", self.list(&text).map_or_else(|| text.into(), Value::Array));
            }
            Errors::Text | Errors::Problem => {
                put("error", text.into());
            }
        }
        if let Some(outcome) = self.outcome() {
            put("outcome", outcome.into());
        }
        if let Self::Buy { key, .. } = self {
            put("idempotency_key", key.as_str().into());
        }
        body
    }

    /// What is wrong with the request, entry by entry, if it is the request that is wrong.
    fn list(&self, text: &str) -> Option<Vec<Value>> {
        match self {
            Self::Body(wrong) => Some(wrong.iter().map(WrongMember::entry).collect()),
            Self::Syntax(_, why) => Some(vec![why.entry(text)]),
            Self::MediaType(_) | Self::ContentEncoding => Some(vec![NoObject::MediaType.entry(text)]),
            Self::Field { field, text } => Some(vec![entry_of_field(field, text)]),
            _ => None,
        }
    }

    fn problem(&self, status: StatusCode, dialect: &Dialect) -> ProblemDetails<ProblemMembers> {
        let mut members = ProblemMembers::default();
        members.outcome = self.outcome().map(str::to_owned);
        match self {
            Self::Buy { key, .. } => members.idempotency_key = Some(key.to_string()),
            Self::Field { field, .. } => members.field = Some((*field).to_owned()),
            Self::Body(wrong) => members.field = wrong.first().map(|wrong| wrong.member.to_owned()),
            _ => {}
        }
        let problem =
            ProblemDetails::from_status_code(status).with_detail(self.text(dialect)).with_extensions(members);
        let known = self.kind().map(problem_type);
        match known.or_else(|| matches!(self, Self::UnknownPurchase).then_some(UNKNOWN_PURCHASE)) {
            Some(kind) => problem.with_type(Uri::from_static(kind)),
            None => problem,
        }
    }

    /// An error of a port is logged here, once, with all that the client is not told.
    fn log(&self) {
        let (Self::Buy { error, .. } | Self::Query(error, _)) = self else { return };
        let client_is_told = matches!(self, Self::Buy { .. })
            && matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::TooLarge);
        if !client_is_told {
            tracing::warn!(error = %error.chain(), outcome = ?error.outcome(), "a request failed");
        }
    }
}

/// The members that lack, or if none does, what is wrong with the first that is.
fn text_of_body(wrong: &[WrongMember], dialect: &Dialect) -> String {
    let missing = wrong.iter().filter(|wrong| wrong.problem == Problem::Missing);
    let missing: Vec<String> = missing.map(|wrong| format!("'{}'", wrong.member)).collect();
    if missing.is_empty() {
        return wrong.first().map(|wrong| wrong.text.clone()).unwrap_or_default();
    }
    match dialect.missing {
        Missing::Listed => format!("Missing required fields: [{}]", missing.join(", ")),
        Missing::AllRequired => ALL_REQUIRED.to_owned(),
    }
}

/// What `dialect` says when a service of this role does not take a purchase.
const fn not_taken(role: Role, dialect: &Dialect) -> Outage {
    match role {
        Role::Facing => dialect.outages.taking,
        Role::Management => dialect.outages.writing,
    }
}

/// What `dialect` says when a service of this role has no answer, if the error's kind makes no difference.
const fn outage(role: Role, dialect: &Dialect) -> Option<Outage> {
    match role {
        Role::Facing => dialect.outages.asking,
        Role::Management => dialect.outages.reading,
    }
}

const fn status_of_buy(kind: ErrorKind, role: Role, dialect: &Dialect) -> StatusCode {
    match kind {
        ErrorKind::Invalid => dialect.invalid,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => not_taken(role, dialect).status,
    }
}

const fn status_of_query(kind: ErrorKind, outage: Option<Outage>) -> StatusCode {
    match (outage, kind) {
        (Some(outage), _) => outage.status,
        (None, ErrorKind::Corrupt | ErrorKind::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
        (None, _) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

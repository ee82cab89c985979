//! The responses of an operation, and the failures of all operations.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use shop_core::api::{
    BatchPurchaseBody, BatchResultBody, DeadLetterBody, NewOrderBody, NewPurchaseBody, NewUserBody,
    OrderBody, PageBody, ProblemError, ProblemMembers, PublishedBody, PurchaseBody, SummaryBody, TotalsBody,
    UserBody, UserOrdersBody,
};
use shop_core::{Error, ErrorKind, IdempotencyKey, Outcome};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::route_info::RouteInfo;
use super::schemas::{self, array, described, named, object, text, word};
use crate::auth::Policy;
use crate::dialect::{Dialect, Errors};
use crate::response::failure::{Failure, Subject};
use crate::response::validation_error::NoObject;

/// The name of the security scheme: a bearer token.
pub(super) const BEARER: &str = "bearer";

/// The media type of a response without a body.
pub(super) const NO_BODY: &str = "";

/// A response. Several may have the same status.
pub(super) struct ResponseDoc {
    pub(super) status: StatusCode,
    pub(super) description: String,
    pub(super) media: &'static str,
    pub(super) schema: Value,
    pub(super) example: Option<(String, Value)>,
    /// Headers with their descriptions.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) links: Vec<(&'static str, Value)>,
}

impl ResponseDoc {
    pub(super) fn json(status: StatusCode, description: &str, schema: Value) -> Self {
        Self {
            status,
            description: description.to_owned(),
            media: "application/json",
            schema,
            example: None,
            headers: Vec::new(),
            links: Vec::new(),
        }
    }

    /// A response of another media type, or without a body.
    pub(super) fn other(status: StatusCode, description: &str, media: &'static str) -> Self {
        Self { media, ..Self::json(status, description, text()) }
    }

    pub(super) fn with_example(mut self, example: Option<Value>) -> Self {
        self.example = example.map(|value| ("Default".to_owned(), value));
        self
    }

    pub(super) fn with_header(mut self, name: &'static str, says: &'static str) -> Self {
        self.headers.push((name, says));
        self
    }

    /// Links to the operation with this id, whose parameters are expressions about this response.
    pub(super) fn with_link(
        mut self,
        name: &'static str,
        operation_id: &str,
        parameters: &[(&str, &str)],
        says: &str,
    ) -> Self {
        let parameters: BTreeMap<_, _> = parameters.iter().copied().collect();
        let link = json!({"operationId": operation_id, "parameters": parameters, "description": says});
        self.links.push((name, link));
        self
    }

    fn from_failure(failure: &Failure, dialect: &Dialect) -> Self {
        let (status, media, body) = failure.shown(dialect);
        let mut headers = Vec::new();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.push(("Retry-After", "The seconds to wait before a retry"));
        }
        if matches!(failure, Failure::Write { .. }) {
            headers.push(("Idempotency-Key", "The key to repeat the request with"));
        }
        if matches!(failure, Failure::Unauthenticated(_)) {
            headers.push(("WWW-Authenticate", "The scheme, `Bearer`, and what is wrong with the token"));
        }
        if matches!(failure, Failure::MethodNotAllowed) {
            headers.push(("Allow", "The methods of this path"));
        }
        // The name of the variant, without its fields.
        let name = format!("{failure:?}");
        let name = name.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
        let schema = schemas::reference(error_schema_name(dialect.errors));
        let description = status.canonical_reason().unwrap_or_default();
        let example = Some((name.to_owned(), body));
        Self { media, example, headers, ..Self::json(status, description, schema) }
    }
}

/// The responses of an operation at `place`: `own`, `failures`, and the failures of all operations.
pub(super) fn responses(place: &RouteInfo<'_>, own: Vec<ResponseDoc>, failures: &[Failure]) -> Value {
    let everywhere = [
        Failure::UriTooLong(place.options.max_uri_bytes),
        Failure::HeadersTooLarge(place.options.max_header_bytes),
        Failure::Panicked,
    ];
    let failures =
        failures.iter().chain(&everywhere).map(|failure| ResponseDoc::from_failure(failure, place.dialect));
    let mut by_status = BTreeMap::<u16, Vec<ResponseDoc>>::new();
    for answer in own.into_iter().chain(failures) {
        by_status.entry(answer.status.as_u16()).or_default().push(answer);
    }
    by_status.into_iter().map(|(status, answers)| (status.to_string(), response(answers))).collect()
}

/// The failures of an overloaded service: too many requests, or a time-out.
pub(super) fn too_busy(place: &RouteInfo<'_>, writes: bool) -> Vec<Failure> {
    let rate = if writes { place.options.rate_writes } else { place.options.rate_reads };
    let exceeded = |rate| Failure::RateExceeded { rate, retry_after: Duration::ZERO, writes };
    let timed_out = Failure::TimedOut { deadline: place.options.request_timeout, writes };
    [Failure::Overloaded { writes }, timed_out].into_iter().chain(rate.map(exceeded)).collect()
}

/// The failures of a query.
pub(super) fn no_answer(about: Subject) -> Vec<Failure> {
    let kinds = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded, ErrorKind::Internal];
    kinds.into_iter().map(|kind| Failure::Query(Error::new(kind, "an example"), about)).collect()
}

/// The failures of a write.
pub(super) fn not_taken(of: Subject) -> Vec<Failure> {
    use ErrorKind::{
        Conflict, DeadlineExceeded, Erased, Internal, Invalid, TooLarge, Unavailable, Unsupported,
    };

    let Ok(key) = "0190163d-8694-739b-aea5-966c26f8ad91".parse::<IdempotencyKey>() else { return Vec::new() };
    let kinds = [Invalid, Conflict, Erased, TooLarge, Unavailable, DeadlineExceeded, Internal, Unsupported];
    let failure = |kind| {
        let outcome =
            if matches!(kind, DeadlineExceeded | Internal) { Outcome::Unknown } else { Outcome::NotApplied };
        let error = Error::new(kind, "an example").with_outcome(outcome);
        Failure::Write { error, key: key.clone(), of }
    };
    let applies = |kind: &ErrorKind| *kind != Erased || matches!(of, Subject::Purchase(_));
    kinds.into_iter().filter(applies).map(failure).collect()
}

/// The failures of any request with a body.
pub(super) fn unreadable(place: &RouteInfo<'_>) -> Vec<Failure> {
    vec![
        Failure::Syntax("expected value at line 1 column 1".to_owned(), NoObject::NoJson(0)),
        Failure::field("Idempotency-Key", "must be one key of 1 to 255 visible ASCII characters"),
        Failure::BodyTooSlow(place.options.body_read_timeout),
        Failure::BodyTooLarge(place.options.max_body_bytes),
        Failure::MediaType("text/plain".to_owned()),
        Failure::ContentEncoding,
    ]
}

/// The response that is one of `answers`, which have the same status.
fn response(answers: Vec<ResponseDoc>) -> Value {
    let mut descriptions: Vec<String> = Vec::new();
    let mut contents = BTreeMap::<&str, Vec<ResponseDoc>>::new();
    let mut headers = Map::new();
    headers.insert("X-Request-Id".to_owned(), json!({"$ref": "#/components/headers/X-Request-Id"}));
    let mut links = Map::new();
    for mut answer in answers {
        if !descriptions.contains(&answer.description) {
            descriptions.push(std::mem::take(&mut answer.description));
        }
        headers.extend(answer.headers.iter().map(|(name, says)| ((*name).to_owned(), header(says))));
        links.extend(answer.links.drain(..).map(|(name, link)| (name.to_owned(), link)));
        contents.entry(answer.media).or_default().push(answer);
    }
    let contents = contents.into_iter().filter(|(media, _)| *media != NO_BODY);
    let contents: Map<_, _> =
        contents.map(|(media, answers)| (media.to_owned(), content(media, answers))).collect();
    let mut response = json!({"description": descriptions.join(" · "), "headers": headers});
    for (member, value) in [("links", links), ("content", contents)] {
        if !value.is_empty() {
            response[member] = value.into();
        }
    }
    response
}

fn content(media: &str, answers: Vec<ResponseDoc>) -> Value {
    let mut schemas: Vec<Value> = Vec::new();
    let mut examples = Vec::<(String, Value)>::new();
    for answer in answers {
        if !schemas.contains(&answer.schema) {
            schemas.push(answer.schema);
        }
        // Failures with the same text are shown once.
        if let Some((name, value)) = answer.example
            && !examples.iter().any(|(_, known)| *known == value)
        {
            let number = examples.iter().filter(|(known, _)| known.starts_with(&name)).count();
            let name = if number == 0 { name } else { format!("{name}{}", number + 1) };
            examples.push((name, value));
        }
    }
    let mut content = json!({});
    // Files have no schema.
    if media.contains("json") || media.starts_with("text/plain") {
        let only = if schemas.len() == 1 { schemas.pop() } else { None };
        content["schema"] = only.unwrap_or_else(|| json!({"anyOf": schemas}));
    }
    if !examples.is_empty() {
        let examples = examples.into_iter().map(|(name, value)| (name, json!({"value": value})));
        content["examples"] = examples.collect();
    }
    content
}

fn header(says: &str) -> Value {
    json!({"schema": text(), "description": says})
}

/// The components that the operations in `paths`, which are in these dialects, refer to.
pub(super) fn components<'a>(
    paths: &Map<String, Value>,
    dialects: impl IntoIterator<Item = &'a Dialect>,
    policy: &Policy,
) -> Value {
    let mut known = bodies();
    let errors = dialects.into_iter().map(|dialect| dialect.errors);
    known.extend(errors.map(|form| (error_schema_name(form).to_owned(), error(form))));
    let request_id = header(
        "The id of the request: the client's `X-Request-ID`, else its `X-Correlation-ID`, else a fresh one. A response \
         repeats `X-Correlation-ID`, too",
    );
    let mut components = json!({"headers": {"X-Request-Id": request_id}, "schemas": referred_to(json!(paths).to_string(), known)});
    if policy.requires_token {
        let says = "A JSON Web Token of the issuer, or an API key";
        components["securitySchemes"] =
            json!({BEARER: {"type": "http", "scheme": "bearer", "description": says}});
    }
    components
}

/// The schemas of bodies, and those that they refer to.
fn bodies() -> Map<String, Value> {
    fn add<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
        all.push((T::name().into(), T::schema()));
        T::schemas(all);
    }
    let mut all = Vec::new();
    let of_bodies = [
        add::<NewPurchaseBody<'_>>,
        add::<PublishedBody>,
        add::<PurchaseBody>,
        add::<PageBody>,
        add::<SummaryBody>,
        add::<TotalsBody>,
        add::<BatchPurchaseBody<'_>>,
        add::<BatchResultBody>,
        add::<NewUserBody<'_>>,
        add::<UserBody>,
        add::<UserOrdersBody>,
        add::<NewOrderBody<'_>>,
        add::<OrderBody>,
        add::<DeadLetterBody>,
        add::<ProblemError>,
    ];
    of_bodies.into_iter().for_each(|add| add(&mut all));
    all.into_iter().map(|(name, schema)| (name, json!(schema))).collect()
}

/// Those of the schemas `known` that `text`, or one of them, refers to.
fn referred_to(mut text: String, mut known: Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    while let Some(name) =
        known.keys().find(|name| text.contains(&schemas::reference(name)["$ref"].to_string())).cloned()
    {
        let schema = known.remove(&name).unwrap_or_default();
        text.push_str(&schema.to_string());
        found.insert(name, schema);
    }
    found
}

/// Named by the form: dialects that share a form share the schema.
const fn error_schema_name(form: Errors) -> &'static str {
    match form {
        Errors::Text => "Error",
        Errors::StatusAndMessage => "StatusAndMessage",
        Errors::Detail => "ErrorDetail",
        Errors::Problem => "Problem",
    }
}

/// The schema of an error's body.
fn error(form: Errors) -> Value {
    let mut body = match form {
        Errors::Text => object([("error", text())]),
        Errors::StatusAndMessage => object([("status", word(&["Error"])), ("message", text())]),
        Errors::Detail => {
            // An invalid request has a list of entries.
            let (loc, input) = (array(&json!({})), json!({}));
            let entry = object([("type", text()), ("loc", loc), ("msg", text()), ("input", input)]);
            object([("detail", json!({"anyOf": [text(), array(&entry)]}))])
        }
        Errors::Problem => object([("title", text()), ("detail", text())]),
    };
    let properties = &mut body["properties"];
    if form == Errors::Problem {
        properties["type"] = text();
        properties["status"] = json!({"type": "integer"});
        properties["field"] = described(text(), "The first invalid member or parameter");
        properties["errors"] = array(&named::<ProblemError>());
    }
    let words = [Outcome::NotApplied, Outcome::Unknown].map(ProblemMembers::outcome_word);
    properties["outcome"] = described(word(&words), "Of a write: whether it may have taken effect");
    properties["idempotency_key"] = described(text(), "Of a write: the key to repeat it with");
    body
}

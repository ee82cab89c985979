//! Answers: those of an operation, and the errors that every one may have.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::Value;
use shop_core::api::{
    OrderBody, PageBody, ProblemError, ProblemMembers, PublishedBody, SummaryBody, UserBody,
};
use shop_core::{Error, ErrorKind, IdempotencyKey, Outcome};
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::link::Link;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{
    Components, ComponentsBuilder, Content, ContentBuilder, Ref, ResponseBuilder, Responses, ResponsesBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::schemas::{Described, any_of, anything, array, object, of_type, text, word};
use super::whereabouts::Place;
use crate::dialect::{Dialect, Errors};
use crate::response::failure::{Failure, Subject};

/// One answer; several may have the same status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) description: String,
    pub(super) media: &'static str,
    pub(super) schema: Described,
    pub(super) example: Option<(String, Value)>,
    /// Headers, and what they say.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) links: Vec<(&'static str, Link)>,
}

impl Answer {
    pub(super) fn json(status: StatusCode, description: &str, schema: impl Into<Described>) -> Self {
        Self {
            status,
            description: description.to_owned(),
            media: "application/json",
            schema: schema.into(),
            example: None,
            headers: Vec::new(),
            links: Vec::new(),
        }
    }

    pub(super) fn with_example(mut self, example: Option<Value>) -> Self {
        self.example = example.map(|value| ("Usual".to_owned(), value));
        self
    }

    pub(super) fn with_header(mut self, name: &'static str, says: &'static str) -> Self {
        self.headers.push((name, says));
        self
    }

    fn of_failure(failure: &Failure, dialect: &Dialect) -> Self {
        let (status, media, body) = failure.shown(dialect);
        let mut headers = Vec::new();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.push(("Retry-After", "The seconds after which to come again"));
        }
        if matches!(failure, Failure::Write { .. }) {
            headers.push(("Idempotency-Key", "What to repeat the request with"));
        }
        if matches!(failure, Failure::MethodNotAllowed) {
            headers.push(("Allow", "The methods that there are"));
        }
        // The name of what went wrong, without its details.
        let name = format!("{failure:?}");
        let name = name.split(|character: char| !character.is_alphanumeric()).next().unwrap_or_default();
        Self {
            status,
            description: status.canonical_reason().unwrap_or_default().to_owned(),
            media,
            schema: Ref::from_schema_name(error_schema_name(dialect.errors)).into(),
            example: Some((name.to_owned(), body)),
            headers,
            links: Vec::new(),
        }
    }
}

/// The answers of an operation at `place`: `own`, `failures`, and what may happen everywhere.
pub(super) fn answers(place: &Place<'_>, own: Vec<Answer>, failures: &[Failure]) -> Responses {
    let everywhere = [
        Failure::UriTooLong(place.options.uri_limit),
        Failure::HeadersTooLarge(place.options.header_limit),
        Failure::Panicked,
    ];
    let failures =
        failures.iter().chain(&everywhere).map(|failure| Answer::of_failure(failure, place.dialect));
    let mut by_status = BTreeMap::<u16, Vec<Answer>>::new();
    for answer in own.into_iter().chain(failures) {
        by_status.entry(answer.status.as_u16()).or_default().push(answer);
    }
    let responses = by_status.into_iter().map(|(status, answers)| (status.to_string(), response(answers)));
    responses.fold(ResponsesBuilder::new(), |all, (status, response)| all.response(status, response)).build()
}

/// What is refused for a moment: there are too many requests, or this one takes too long.
pub(super) fn too_busy(place: &Place<'_>, writes: bool) -> [Failure; 2] {
    [Failure::Overloaded { writes }, Failure::TimedOut { deadline: place.options.request_deadline, writes }]
}

/// What is said when a question finds no answer.
pub(super) fn no_answer(about: Subject) -> Vec<Failure> {
    let kinds = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded, ErrorKind::Internal];
    kinds.into_iter().map(|kind| Failure::Query(Error::new(kind, "an example"), about)).collect()
}

/// What is said when one of these is not taken.
pub(super) fn not_taken(of: Subject) -> Vec<Failure> {
    use ErrorKind::{Conflict, DeadlineExceeded, Internal, Invalid, TooLarge, Unavailable, Unsupported};

    let Ok(key) = "0190163d-8694-739b-aea5-966c26f8ad91".parse::<IdempotencyKey>() else { return Vec::new() };
    let kinds = [Invalid, Conflict, TooLarge, Unavailable, DeadlineExceeded, Internal, Unsupported];
    let failure = |kind| {
        let outcome =
            if matches!(kind, DeadlineExceeded | Internal) { Outcome::Unknown } else { Outcome::NotApplied };
        let error = Error::new(kind, "an example").with_outcome(outcome);
        Failure::Write { error, key: key.clone(), of }
    };
    kinds.map(failure).into()
}

fn response(answers: Vec<Answer>) -> utoipa::openapi::Response {
    let mut descriptions: Vec<String> = Vec::new();
    let mut contents = BTreeMap::<&str, Vec<Answer>>::new();
    let mut response =
        ResponseBuilder::new().header_ref("X-Request-Id", Ref::new("#/components/headers/X-Request-Id"));
    for answer in answers {
        if !descriptions.contains(&answer.description) {
            descriptions.push(answer.description.clone());
        }
        for (name, says) in &answer.headers {
            response = response.header(*name, header(says));
        }
        for (name, link) in &answer.links {
            response = response.link(*name, link.clone());
        }
        contents.entry(answer.media).or_default().push(answer);
    }
    // An answer without a media type has no body.
    for (media, answers) in contents.into_iter().filter(|(media, _)| !media.is_empty()) {
        let mut content = content(answers);
        if !media.contains("json") && !media.starts_with("text/plain") {
            // Files say themselves what they hold.
            content.schema = None;
        }
        response = response.content(media, content);
    }
    response.description(descriptions.join(" · ")).build()
}

fn content(answers: Vec<Answer>) -> Content {
    let mut schemas: Vec<Described> = Vec::new();
    let mut examples = Vec::new();
    for answer in answers {
        if !schemas.contains(&answer.schema) {
            schemas.push(answer.schema);
        }
        if let Some((name, value)) = answer.example {
            // Kinds of failure that are told in the same words are shown once.
            let is_new = |(_, known): &(String, Value)| *known != value;
            if examples.iter().all(is_new) {
                let number =
                    examples.iter().filter(|(known, _): &&(String, _)| known.starts_with(&name)).count();
                let name = if number == 0 { name } else { format!("{name}{}", number + 1) };
                examples.push((name, value));
            }
        }
    }
    let schema = if schemas.len() == 1 { schemas.pop() } else { Some(any_of(schemas)) };
    let examples =
        examples.into_iter().map(|(name, value)| (name, ExampleBuilder::new().value(Some(value)).build()));
    ContentBuilder::new().schema(schema).examples_from_iter(examples).build()
}

fn header(says: &str) -> Header {
    HeaderBuilder::new().schema(Some(text())).description(Some(says)).build()
}

/// What answers in these dialects have in common.
pub(super) fn components<'a>(dialects: impl IntoIterator<Item = &'a Dialect>) -> Components {
    let request_id = header("The request's id: the one that it came with, or a fresh one");
    let mut bodies = Vec::new();
    let of_bodies = [
        PublishedBody::schemas,
        PageBody::schemas,
        SummaryBody::schemas,
        UserBody::schemas,
        OrderBody::schemas,
    ];
    of_bodies.into_iter().for_each(|schemas| schemas(&mut bodies));
    let shared = ComponentsBuilder::new().header("X-Request-Id", request_id).schemas_from_iter(bodies);
    dialects
        .into_iter()
        .fold(shared, |all, dialect| all.schema(error_schema_name(dialect.errors), error(dialect.errors)))
        .build()
}

/// Named by the form: a dialect may have one where its path tells it, and another where it was chosen.
const fn error_schema_name(form: Errors) -> &'static str {
    match form {
        Errors::Text => "error-text",
        Errors::StatusAndMessage => "error-status-and-message",
        Errors::Detail => "error-detail",
        Errors::Problem => "error-problem",
    }
}

/// The body of an error.
fn error(form: Errors) -> Described {
    let some_text = || text().build().into();
    let entry = || {
        object([
            ("type", some_text()),
            ("loc", array(anything().build().into())),
            ("msg", some_text()),
            ("input", anything().build().into()),
        ])
    };
    let body = match form {
        Errors::Text => object([("error", some_text())]),
        Errors::StatusAndMessage => {
            object([("status", word(["Error"]).build().into()), ("message", some_text())])
        }
        Errors::Detail => {
            // What is wrong with a request is told entry by entry.
            object([("detail", any_of([some_text(), array(entry().build().into())]))])
        }
        Errors::Problem => object([("title", some_text()), ("detail", some_text())])
            .property("type", text())
            .property("status", of_type(Type::Integer))
            .property("field", text().description(Some("The first member or parameter that is wrong")))
            .property("errors", array(ProblemError::schema())),
    };
    let words = [Outcome::NotApplied, Outcome::Unknown].map(ProblemMembers::outcome_word);
    body.property("outcome", word(words).description(Some("Of a POST: whether it may have taken effect")))
        .property("idempotency_key", text().description(Some("Of a POST: what to repeat it with")))
        .build()
        .into()
}

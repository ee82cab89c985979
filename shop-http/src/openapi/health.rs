//! How the service is, and what there is.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::operation::Operation;
use super::parameters;
use super::responses::{NO_BODY, ResponseDoc, too_busy};
use super::route_info::RouteInfo;
use super::schemas::{object, text, word};
use crate::resources::health::{DEGRADED, INGEST_STOPPED, KAFKA_UNAVAILABLE, LOG_UNAVAILABLE};
use crate::response::failure::Failure;
use crate::service_kind::ServiceKind;

const DOCUMENT: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// What stands at a path that is no purchase's.
pub(super) fn or_about(naked: &str, place: &RouteInfo<'_>) -> Option<Operation> {
    let ok = |says, media| ResponseDoc::other(StatusCode::OK, says, media);
    let files = |media: &[&'static str]| media.iter().map(|media| ok("The file", media)).collect::<Vec<_>>();
    let lives = "Whether the process lives";
    Some(match naked {
        "/" => index(place),
        "/health" => health(place),
        "/ready" => ready_naked(place),
        "/readyz" => ready_to_answer(),
        "/-/ready" => ready(place),
        "/livez" | "/-/healthy" => of_health(lives, vec![is("It does", &[("status", &["alive"])])]),
        "/healthz" => {
            let answer = ResponseDoc { schema: word(&["Success"]), ..ok("It does", TEXT) };
            of_health(lives, vec![answer.with_example(Some("Success".into()))])
        }
        "/metrics" => of_health("Metrics", vec![ok("Metrics in Prometheus' text format", "text/plain")]),
        "/page/{name}" => {
            let mut own = files(&[SCRIPT, STYLE, "image/svg+xml"]);
            own.push(unchanged());
            file(place, "What the page for browsers is made of", parameters::asset(), own)
        }
        "/docs" => about(place, "This document, to read and to try", vec![ok("A page", DOCUMENT)]),
        "/docs/{file}" => {
            let own = files(&[DOCUMENT, STYLE, SCRIPT, "image/png", "application/json"]);
            file(place, "What the page of the documentation is made of", parameters::file(), own)
        }
        "/redoc" => {
            let page = ResponseDoc::other(StatusCode::TEMPORARY_REDIRECT, "To `/docs`", NO_BODY);
            let own = vec![page.with_header("Location", "`docs`")];
            about(place, "Where other systems have a page of this kind", own)
        }
        "/openapi.json" => {
            let document =
                ResponseDoc::json(StatusCode::OK, "An OpenAPI document", json!({"type": "object"}));
            about(place, "This document", vec![document])
        }
        _ => return None,
    })
}

/// Something that is always answered.
fn of_health(summary: &'static str, own: Vec<ResponseDoc>) -> Operation {
    Operation { tag: "health", summary, own, ..Operation::default() }
}

fn about(place: &RouteInfo<'_>, summary: &'static str, own: Vec<ResponseDoc>) -> Operation {
    let failures = too_busy(place, false).into();
    Operation { tag: "about", summary, own, failures, ..Operation::default() }
}

/// One of the files that `parameter` names.
fn file(place: &RouteInfo<'_>, summary: &'static str, parameter: Value, own: Vec<ResponseDoc>) -> Operation {
    let mut operation = about(place, summary, own);
    operation.failures.insert(0, Failure::NoRoute);
    Operation { parameters: vec![parameter], ..operation }
}

/// What is answered to a browser that has a file already.
fn unchanged() -> ResponseDoc {
    ResponseDoc::other(StatusCode::NOT_MODIFIED, "The browser has it", NO_BODY)
}

/// An object of these members: one of the words of each, or where there are none, whether it is so.
fn telling(members: &[(&str, &[&str])]) -> Value {
    object(members.iter().map(|(name, words)| {
        (*name, if words.is_empty() { json!({"type": "boolean"}) } else { word(words) })
    }))
}

/// 200 with such an object; the first words of all members are its example.
fn is(says: &str, members: &[(&str, &[&str])]) -> ResponseDoc {
    let shown = members.iter().map(|(name, words)| {
        let value = words.first().map_or(Value::from(true), |word| (*word).into());
        ((*name).to_owned(), value)
    });
    ResponseDoc::json(StatusCode::OK, says, telling(members)).with_example(Some(shown.collect()))
}

/// 503 with a body like this.
fn is_not(says: &str, schema: Value) -> ResponseDoc {
    ResponseDoc::json(StatusCode::SERVICE_UNAVAILABLE, says, schema)
}

/// What is true or false in the answers of a service of this role.
fn switches(place: &RouteInfo<'_>) -> Vec<(&'static str, &'static [&'static str])> {
    match place.role {
        ServiceKind::Facing => vec![("kafkaReady", &[])],
        ServiceKind::Management => vec![("kafkaReady", &[]), ("mongoReady", &[])],
    }
}

fn index(place: &RouteInfo<'_>) -> Operation {
    let map = json!({"type": "object", "additionalProperties": text()});
    let own = vec![
        ResponseDoc::json(StatusCode::OK, "Paths, and what they are for", map)
            .with_example(Some(json!({"/healthz": "Whether the process lives"}))),
        ResponseDoc::other(StatusCode::OK, "For a browser, a page", DOCUMENT),
        unchanged(),
        ResponseDoc::other(
            StatusCode::PERMANENT_REDIRECT,
            "To the same path with a slash, for a browser",
            NO_BODY,
        )
        .with_header("Location", "The path with a slash"),
    ];
    about(place, "What can be asked here, or for a browser a page", own)
}

const SHOULD: &str = "Requests should be sent here";
const SHOULD_NOT: &str = "Requests should not be sent here now";

fn ready(place: &RouteInfo<'_>) -> Operation {
    let own = match place.role {
        ServiceKind::Facing => {
            let why = telling(&[("detail", &[KAFKA_UNAVAILABLE, LOG_UNAVAILABLE, INGEST_STOPPED])]);
            vec![is(SHOULD, &[("status", &["ready"])]), is_not(SHOULD_NOT, why)]
        }
        ServiceKind::Management => {
            let parts = |status: &'static [&'static str]| -> [(&str, &[&str]); 3] {
                [("status", status), ("mongo", &["up", "down"]), ("kafka", &["up", "down"])]
            };
            let why = object([("detail", telling(&parts(&["not_ready"])))]);
            vec![is(SHOULD, &parts(&["ready"])), is_not(SHOULD_NOT, why)]
        }
    };
    of_health("Whether requests should be sent here", own)
}

fn ready_to_answer() -> Operation {
    let not = telling(&[("status", &["not ready"])]);
    let own =
        vec![is("It can", &[("status", &["ready"])]), is_not("A file of this process is not usable", not)];
    of_health("Whether this process can answer anything, whatever else is unavailable", own)
}

fn ready_naked(place: &RouteInfo<'_>) -> Operation {
    let with = |status: &'static [&str]| [vec![("status", status)], switches(place)].concat();
    let own = vec![is(SHOULD, &with(&["ready"])), is_not(SHOULD_NOT, telling(&with(&["not ready"])))];
    of_health("Whether requests should be sent here, in other words", own)
}

fn health(place: &RouteInfo<'_>) -> Operation {
    let form = place.dialect.health;
    let words = [form.well, DEGRADED];
    let well: Vec<(&str, &[&str])> = [vec![("status", &words[..])], switches(place)].concat();
    let mut own = vec![is("How it is", &well)];
    if place.role == ServiceKind::Management && form.reports_store {
        if let Some((_, shown)) = &mut own[0].example {
            shown["mongodb"] = "connected".into();
        }
        let parts: Vec<(&str, &[&str])> =
            [vec![("status", &["unhealthy"][..]), ("mongodb", &["disconnected"])], switches(place)].concat();
        own.push(ResponseDoc::json(StatusCode::INTERNAL_SERVER_ERROR, "The store is away", telling(&parts)));
    }
    let summary = "How the service is, for people; with the state of what runs in it, as `ingest`, `users` and `orders`. \
                   `degraded`: ingest has stopped, or cannot store a record, until an operator acts";
    of_health(summary, own)
}

//! The operations for health, metrics and documentation.

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

/// The operation at a path that is not one of purchases or entities.
pub(super) fn or_about(path: &str, place: &RouteInfo<'_>) -> Option<Operation> {
    let ok = |says, media| ResponseDoc::other(StatusCode::OK, says, media);
    let files = |media: &[&'static str]| media.iter().map(|media| ok("The file", media)).collect::<Vec<_>>();
    let document = || ResponseDoc::json(StatusCode::OK, "An OpenAPI document", json!({"type": "object"}));
    let lives = "Whether the process is alive";
    Some(match path {
        "/" => index(place),
        "/health" => health(place),
        "/ready" => legacy_ready(place),
        "/readyz" => ready_to_answer(),
        "/-/ready" => ready(place),
        "/livez" | "/-/healthy" => of_health(lives, vec![is("It is alive", &[("status", &["alive"])])]),
        "/healthz" => {
            let answer = ResponseDoc { schema: word(&["Success"]), ..ok("It is alive", TEXT) };
            of_health(lives, vec![answer.with_example(Some("Success".into()))])
        }
        "/metrics" => of_health("Metrics", vec![ok("Metrics in Prometheus' text format", "text/plain")]),
        "/page/{name}" => {
            let mut own = files(&[SCRIPT, STYLE, "image/svg+xml"]);
            own.push(unchanged());
            file(place, "A file of the page for browsers", parameters::asset(), own)
        }
        "/docs" => about(
            place,
            "The document of the native API as a page, with a client to try it",
            vec![ok("A page", DOCUMENT)],
        ),
        "/docs/{file}" => {
            let own = files(&[DOCUMENT, STYLE, SCRIPT, "image/png", "application/json"]);
            file(place, "A file of the page", parameters::file(), own)
        }
        "/docs/compatibility" => {
            let page = vec![ok("A page", DOCUMENT)];
            about(place, "The documents of the replaced systems' routes as a page", page)
        }
        "/docs/compatibility/{file}" => {
            let own = vec![document(), ok("The script of the page", SCRIPT)];
            file(place, "The document of a dialect's routes", parameters::compatibility(), own)
        }
        "/problems/{name}" => {
            file(place, "The explanation of a problem's `type`", parameters::problem(), files(&[DOCUMENT]))
        }
        "/redoc" => {
            let page = ResponseDoc::other(StatusCode::TEMPORARY_REDIRECT, "To `/docs`", NO_BODY);
            let own = vec![page.with_header("Location", "`docs`")];
            about(place, "Redirects to `/docs`", own)
        }
        "/openapi.json" => about(place, "The document of the native API", vec![document()]),
        _ => return None,
    })
}

/// An operation that always has a response.
fn of_health(summary: &'static str, own: Vec<ResponseDoc>) -> Operation {
    Operation { tag: "health", summary, own, ..Operation::default() }
}

fn about(place: &RouteInfo<'_>, summary: &'static str, own: Vec<ResponseDoc>) -> Operation {
    let failures = too_busy(place, false);
    Operation { tag: "about", summary, own, failures, ..Operation::default() }
}

/// The operation that serves the files of `parameter`.
fn file(place: &RouteInfo<'_>, summary: &'static str, parameter: Value, own: Vec<ResponseDoc>) -> Operation {
    let mut operation = about(place, summary, own);
    operation.failures.insert(0, Failure::NoRoute);
    Operation { parameters: vec![parameter], ..operation }
}

/// The response to a browser that has the file already.
fn unchanged() -> ResponseDoc {
    ResponseDoc::other(StatusCode::NOT_MODIFIED, "Not modified", NO_BODY)
}

/// The schema of an object with these members: one of the words, or a boolean where there are none.
fn telling(members: &[(&str, &[&str])]) -> Value {
    object(members.iter().map(|(name, words)| {
        (*name, if words.is_empty() { json!({"type": "boolean"}) } else { word(words) })
    }))
}

/// 200 with such an object. The example has the first word of each member.
fn is(says: &str, members: &[(&str, &[&str])]) -> ResponseDoc {
    let shown = members.iter().map(|(name, words)| {
        let value = words.first().map_or(Value::from(true), |word| (*word).into());
        ((*name).to_owned(), value)
    });
    ResponseDoc::json(StatusCode::OK, says, telling(members)).with_example(Some(shown.collect()))
}

/// 503 with a body of this schema.
fn is_not(says: &str, schema: Value) -> ResponseDoc {
    ResponseDoc::json(StatusCode::SERVICE_UNAVAILABLE, says, schema)
}

/// The booleans in the readiness responses of this service.
fn switches(place: &RouteInfo<'_>) -> Vec<(&'static str, &'static [&'static str])> {
    match place.role {
        ServiceKind::Facing => vec![("kafkaReady", &[])],
        ServiceKind::Management => vec![("kafkaReady", &[]), ("mongoReady", &[])],
    }
}

fn index(place: &RouteInfo<'_>) -> Operation {
    let map = json!({"type": "object", "additionalProperties": text()});
    let own = vec![
        ResponseDoc::json(StatusCode::OK, "Paths with their descriptions", map)
            .with_example(Some(json!({"/healthz": "Whether the process is alive"}))),
        ResponseDoc::other(StatusCode::OK, "A page, for a browser", DOCUMENT),
        unchanged(),
        ResponseDoc::other(
            StatusCode::PERMANENT_REDIRECT,
            "Redirects a browser to the same path with a slash",
            NO_BODY,
        )
        .with_header("Location", "The path with a slash"),
    ];
    about(place, "The paths of this service, or the page for a browser", own)
}

const SHOULD: &str = "The service is ready for requests";
const SHOULD_NOT: &str = "The service is not ready for requests";

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
    of_health("Whether the service is ready for requests", own)
}

fn ready_to_answer() -> Operation {
    let not = telling(&[("status", &["not ready"])]);
    let own =
        vec![is("It can", &[("status", &["ready"])]), is_not("A file of this process is not usable", not)];
    of_health("Whether this process can serve requests, even if other services are unavailable", own)
}

fn legacy_ready(place: &RouteInfo<'_>) -> Operation {
    let with = |status: &'static [&str]| [vec![("status", status)], switches(place)].concat();
    let own = vec![is(SHOULD, &with(&["ready"])), is_not(SHOULD_NOT, telling(&with(&["not ready"])))];
    of_health("Whether the service is ready for requests, in the form of user-buy-list", own)
}

fn health(place: &RouteInfo<'_>) -> Operation {
    let form = place.dialect.health;
    let words = [form.healthy, DEGRADED];
    let switches = if form.has_details { switches(place) } else { Vec::new() };
    let healthy: Vec<(&str, &[&str])> = [vec![("status", &words[..])], switches.clone()].concat();
    let mut own = vec![is("The state of the service", &healthy)];
    if place.role == ServiceKind::Management && form.reports_store {
        if let Some((_, shown)) = &mut own[0].example {
            shown["mongodb"] = "connected".into();
        }
        let parts: Vec<(&str, &[&str])> =
            [vec![("status", &["unhealthy"][..]), ("mongodb", &["disconnected"])], switches].concat();
        own.push(ResponseDoc::json(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The store is unavailable",
            telling(&parts),
        ));
    }
    let summary = "The state of the service, for people and dashboards, with that of `ingest`, `users` and `orders` \
                   where they run. `degraded`: ingest has stopped, or cannot read or store a record, and needs an operator";
    Operation { parameters: vec![parameters::details()], ..of_health(summary, own) }
}

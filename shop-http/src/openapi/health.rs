//! How the service is, and what there is.

use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::schema::Type;

use super::answers::{Answer, answers, too_busy};
use super::schemas::{Described, object, of_type, text, word};
use super::whereabouts::Place;
use super::{Operations, parameters};
use crate::resources::health::{DEGRADED, INGEST_STOPPED, KAFKA_UNAVAILABLE, LOG_UNAVAILABLE};
use crate::response::failure::Failure;
use crate::service_kind::ServiceKind;

/// What stands at a path that is no purchase's.
pub(super) fn or_about(naked: &str, place: &Place<'_>) -> Option<Operations> {
    let operation = match naked {
        "/" => index(place),
        "/healthz" => alive_text(place),
        "/health" => health(place),
        "/ready" => ready_naked(place),
        "/readyz" => ready_to_answer(place),
        "/livez" | "/-/healthy" => alive(place),
        "/-/ready" => ready(place),
        "/page/{name}" => asset(place),
        "/metrics" => metrics(place),
        "/openapi.json" => document(place),
        "/docs" => page(place),
        "/docs/{file}" => file(place),
        "/redoc" => redirected(place),
        _ => return None,
    };
    Some(vec![(HttpMethod::Get, operation)])
}

/// Something that is always answered.
fn of_health(place: &Place<'_>, summary: &str, own: Vec<Answer>) -> OperationBuilder {
    OperationBuilder::new().tag("health").summary(Some(summary)).responses(answers(place, own, &[]))
}

fn about(place: &Place<'_>, summary: &str, own: Vec<Answer>, mut failures: Vec<Failure>) -> OperationBuilder {
    failures.extend(too_busy(place, false));
    OperationBuilder::new().tag("about").summary(Some(summary)).responses(answers(place, own, &failures))
}

/// An object of these members, of which the words are told.
fn telling(members: &[(&str, &[&str])], switches: &[&str]) -> Described {
    let words = members.iter().map(|(name, words)| {
        let words = text().enum_values(Some(words.iter().copied()));
        (*name, words.build().into())
    });
    let switches = switches.iter().map(|name| (*name, of_type(Type::Boolean).build().into()));
    object(words.chain(switches)).build().into()
}

fn index(place: &Place<'_>) -> OperationBuilder {
    let map = of_type(Type::Object).additional_properties(Some(text()));
    let answer = Answer::json(StatusCode::OK, "Paths, and what they are for", map.build());
    let answer = answer.with_example(Some(json!({"/healthz": "Whether the process lives"})));
    let mut page = Answer::json(StatusCode::OK, "For a browser, a page", text().build());
    page.media = "text/html; charset=utf-8";
    let mut below = Answer::json(
        StatusCode::PERMANENT_REDIRECT,
        "To the same path with a slash, for a browser",
        text().build(),
    );
    below.media = "";
    let own = vec![answer, page, unchanged(), below.with_header("Location", "The path with a slash")];
    about(place, "What can be asked here, or for a browser a page", own, Vec::new())
}

/// What is answered to a browser that has a file already.
fn unchanged() -> Answer {
    let mut answer = Answer::json(StatusCode::NOT_MODIFIED, "The browser has it", text().build());
    answer.media = "";
    answer
}

fn asset(place: &Place<'_>) -> OperationBuilder {
    let kinds = ["text/javascript; charset=utf-8", "text/css; charset=utf-8", "image/svg+xml"];
    let mut own: Vec<Answer> = kinds.into_iter().map(file_of).collect();
    own.push(unchanged());
    about(place, "What the page for browsers is made of", own, vec![Failure::NoRoute])
        .parameter(parameters::asset())
}

fn file_of(media: &'static str) -> Answer {
    let mut answer = Answer::json(StatusCode::OK, "The file", text().build());
    answer.media = media;
    answer
}

fn alive_text(place: &Place<'_>) -> OperationBuilder {
    let mut answer = Answer::json(StatusCode::OK, "It does", word(["Success"]).build())
        .with_example(Some(json!("Success")));
    answer.media = "text/plain; charset=utf-8";
    of_health(place, "Whether the process lives", vec![answer])
}

fn alive(place: &Place<'_>) -> OperationBuilder {
    let answer = Answer::json(StatusCode::OK, "It does", telling(&[("status", &["alive"])], &[]));
    let answer = answer.with_example(Some(json!({"status": "alive"})));
    of_health(place, "Whether the process lives", vec![answer])
}

fn ready(place: &Place<'_>) -> OperationBuilder {
    let (is, is_not, shown): (_, _, Value) = match place.role {
        ServiceKind::Facing => {
            let why = [KAFKA_UNAVAILABLE, LOG_UNAVAILABLE, INGEST_STOPPED];
            let is_not = telling(&[("detail", &why)], &[]);
            (telling(&[("status", &["ready"])], &[]), is_not, json!({"status": "ready"}))
        }
        ServiceKind::Management => {
            let parts: [(&str, &[&str]); 2] = [("mongo", &["up", "down"]), ("kafka", &["up", "down"])];
            let with =
                |status: &'static [&'static str]| telling(&[("status", status), parts[0], parts[1]], &[]);
            let is_not = object([("detail", with(&["not_ready"]))]).build().into();
            (with(&["ready"]), is_not, json!({"status": "ready", "mongo": "up", "kafka": "up"}))
        }
    };
    let own = vec![
        Answer::json(StatusCode::OK, "Requests should be sent here", is).with_example(Some(shown)),
        Answer::json(StatusCode::SERVICE_UNAVAILABLE, "Requests should not be sent here now", is_not),
    ];
    of_health(place, "Whether requests should be sent here", own)
}

fn ready_to_answer(place: &Place<'_>) -> OperationBuilder {
    let is = Answer::json(StatusCode::OK, "It can", telling(&[("status", &["ready"])], &[]));
    let is = is.with_example(Some(json!({"status": "ready"})));
    let is_not = telling(&[("status", &["not ready"])], &[]);
    let is_not =
        Answer::json(StatusCode::SERVICE_UNAVAILABLE, "A file of this process is not usable", is_not);
    of_health(
        place,
        "Whether this process can answer anything, whatever else is unavailable",
        vec![is, is_not],
    )
}

fn ready_naked(place: &Place<'_>) -> OperationBuilder {
    let (switches, mut shown): (&[&str], _) = match place.role {
        ServiceKind::Facing => (&["kafkaReady"], json!({"status": "ready", "kafkaReady": true})),
        ServiceKind::Management => {
            let shown = json!({"status": "ready", "kafkaReady": true, "mongoReady": true});
            (&["kafkaReady", "mongoReady"], shown)
        }
    };
    let is = Answer::json(
        StatusCode::OK,
        "Requests should be sent here",
        telling(&[("status", &["ready"])], switches),
    );
    let is = is.with_example(Some(shown.take()));
    let not = telling(&[("status", &["not ready"])], switches);
    let not = Answer::json(StatusCode::SERVICE_UNAVAILABLE, "Requests should not be sent here now", not);
    of_health(place, "Whether requests should be sent here, in other words", vec![is, not])
}

fn health(place: &Place<'_>) -> OperationBuilder {
    let form = place.dialect.health;
    let facing = place.role == ServiceKind::Facing;
    let well = telling(
        &[("status", &[form.well, DEGRADED])],
        if facing { &["kafkaReady"] } else { &["kafkaReady", "mongoReady"] },
    );
    let mut shown = json!({"status": form.well, "kafkaReady": true});
    let mut own = Vec::new();
    if !facing {
        shown["mongoReady"] = true.into();
        if form.reports_store {
            shown["mongodb"] = "connected".into();
            let parts: &[(&str, &[&str])] = &[("status", &["unhealthy"]), ("mongodb", &["disconnected"])];
            let away = telling(parts, &["kafkaReady", "mongoReady"]);
            own.push(Answer::json(StatusCode::INTERNAL_SERVER_ERROR, "The store is away", away));
        }
    }
    own.push(Answer::json(StatusCode::OK, "How it is", well).with_example(Some(shown)));
    let summary = "How the service is, for people; with the state of what runs in it, as `ingest`, `users` and `orders`. \
                   `degraded`: ingest has stopped, or cannot store a record, until an operator acts";
    of_health(place, summary, own)
}

fn metrics(place: &Place<'_>) -> OperationBuilder {
    let mut answer = Answer::json(StatusCode::OK, "Metrics in Prometheus' text format", text().build());
    answer.media = "text/plain";
    of_health(place, "Metrics", vec![answer])
}

fn document(place: &Place<'_>) -> OperationBuilder {
    let answer = Answer::json(StatusCode::OK, "An OpenAPI document", of_type(Type::Object).build());
    about(place, "This document", vec![answer], Vec::new())
}

fn page(place: &Place<'_>) -> OperationBuilder {
    let mut answer = Answer::json(StatusCode::OK, "A page", text().build());
    answer.media = "text/html; charset=utf-8";
    about(place, "This document, to read and to try", vec![answer], Vec::new())
}

fn file(place: &Place<'_>) -> OperationBuilder {
    let kinds = [
        "text/html; charset=utf-8",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
        "image/png",
        "application/json",
    ];
    let file = kinds.map(file_of);
    about(place, "What the page of the documentation is made of", file.into(), vec![Failure::NoRoute])
        .parameter(parameters::file())
}

fn redirected(place: &Place<'_>) -> OperationBuilder {
    let mut answer = Answer::json(StatusCode::TEMPORARY_REDIRECT, "To `/docs`", text().build());
    answer.media = "";
    about(
        place,
        "Where other systems have a page of this kind",
        vec![answer.with_header("Location", "`docs`")],
        Vec::new(),
    )
}

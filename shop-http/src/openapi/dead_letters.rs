//! The operations on dead letters.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::api::DeadLetterBody;
use shop_core::log::ReasonKind;

use super::operation::Operation;
use super::parameters;
use super::responses::{ResponseDoc, no_answer, too_busy, unreadable};
use super::route_info::RouteInfo;
use super::schemas::{array, described, named, object, text, word};
use crate::resources::dead_letters::MAX_POSITIONS;
use crate::response::failure::{Failure, Subject};

/// `GET /v1/dead-letters`.
pub(super) fn list(place: &RouteInfo<'_>) -> Operation {
    let next =
        json!({"type": ["string", "null"], "description": "The cursor of the next page; `null` at the end"});
    let stuck = described(array(&json!({"type": "object"})), "The records that a store does not accept now");
    let page = object([("items", array(&named::<DeadLetterBody>())), ("next", next), ("stuck", stuck)]);
    let listed = ResponseDoc::json(StatusCode::OK, "A page of pending dead letters, by position", page)
        .with_example(Some(json!({"items": [], "next": null, "stuck": []})));
    let summary = "Pending dead letters without their records, gaps among them, and stuck records";
    let failures = vec![Failure::field("reason", "must be undecodable, conflict, refused, parked or gap")];
    Operation { parameters: parameters::dead_letters().into(), ..operation(place, summary, listed, failures) }
}

/// `GET /v1/dead-letters/{position}`.
pub(super) fn get(place: &RouteInfo<'_>) -> Operation {
    let found =
        ResponseDoc::json(StatusCode::OK, "The dead letter with its record", named::<DeadLetterBody>());
    let position = "is not valid: must be topic-partition-offset, such as purchases-0-42";
    let failures = vec![Failure::UnknownDeadLetter, Failure::NoRoute, Failure::field("position", position)];
    Operation {
        parameters: vec![parameters::position()],
        ..operation(place, "One dead letter", found, failures)
    }
}

/// `POST /v1/dead-letters:replay`.
pub(super) fn replay(place: &RouteInfo<'_>) -> Operation {
    resolve(place, "Publishes the records of dead letters again", "replayed")
}

/// `POST /v1/dead-letters:discard`.
pub(super) fn discard(place: &RouteInfo<'_>) -> Operation {
    resolve(place, "Discards dead letters", "discarded")
}

fn resolve(place: &RouteInfo<'_>, summary: &'static str, done: &'static str) -> Operation {
    let mut positions = array(&text());
    (positions["minItems"], positions["maxItems"]) = (1.into(), MAX_POSITIONS.into());
    let mut body = object([("positions", positions)]);
    body["properties"]["dry_run"] = described(json!({"type": "boolean"}), "Whether nothing is changed");
    body["additionalProperties"] = false.into();
    let status = word(&[done, "refused", "unknown"]);
    let mut result = object([("position", text()), ("status", status)]);
    result["properties"]["detail"] = text();
    let results = object([("dry_run", json!({"type": "boolean"})), ("results", array(&result))]);
    let shown = json!({"dry_run": false, "results": [{"position": "purchases-0-42", "status": done}]});
    let answered = ResponseDoc::json(StatusCode::OK, "The result of each position, in order", results)
        .with_example(Some(shown));
    let mut operation = operation(place, summary, answered, unreadable(place));
    operation.body = Some((body, json!({"positions": ["purchases-0-42"], "dry_run": true})));
    operation
}

fn operation(
    place: &RouteInfo<'_>,
    summary: &'static str,
    answer: ResponseDoc,
    mut failures: Vec<Failure>,
) -> Operation {
    failures.extend(no_answer(Subject::DeadLetter));
    failures.extend(too_busy(place, false));
    Operation { tag: "v1", summary, own: vec![answer], failures, ..Operation::default() }
}

/// The kinds of reasons.
pub(super) fn reasons() -> Value {
    word(&ReasonKind::ALL.map(ReasonKind::as_str))
}

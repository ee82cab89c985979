//! The operations of the native API.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::api::{PageBody, PurchaseBody, RowFormat, SummaryBody, TotalsBody};

use super::operation::Operation;
use super::responses::{ResponseDoc, no_answer, too_busy};
use super::route_info::{RouteInfo, operation_id};
use super::schemas::named;
use super::{buying, example, parameters};
use crate::response::failure::{Failure, Subject};
use crate::service_kind::ServiceKind;

const PENDING: (&str, &str) = ("X-Purchase-Pending", "`true` when the awaited purchase is not stored yet");

const FILES: &str = "With `Accept: text/csv` or `application/x-ndjson`, all selected purchases as a file, without \
                     `limit` and `cursor`. A file that could not be read to its end ends with a broken connection.";

const EVENTS: &str = "Server-sent events: `event: purchase`, with the purchase as JSON in `data` and a cursor in `id`. \
                      Every 15 s without a purchase there is a comment, with an `id` that moves the cursor. A stream \
                      ends after an hour, when the service shuts down, and when its reader is too slow. A new one \
                      with `Last-Event-ID` continues; it may repeat purchases, which have the same ids then.";

/// `POST /v1/purchases`.
pub(super) fn buy(place: &RouteInfo<'_>) -> Operation {
    // It may not be stored yet, so the link waits for it.
    let id = "$response.body#/purchase/id";
    let taken = buying::taken(place.dialect).with_link(
        "purchase",
        &operation_id("get", "/v1/purchases/{id}"),
        &[("path.id", id), ("query.wait_for", id)],
        "The purchase, once it is stored",
    );
    Operation { tag: "v1", ..buying::operation(place, "Buys", place.dialect.timestamps, taken) }
}

/// `GET /v1/purchases`.
pub(super) fn purchases(place: &RouteInfo<'_>) -> Operation {
    let listed = ResponseDoc::json(StatusCode::OK, "A page of purchases", named::<PageBody>())
        .with_example(Some(json!(PageBody::from(example::page()))))
        .with_header(PENDING.0, PENDING.1)
        .with_link(
            "next",
            &operation_id("get", place.path),
            &[("query.cursor", "$response.body#/next")],
            "The next page, of the same listing",
        );
    let both = Failure::field("userid", "and username exclude each other: give one of them");
    let unknown = Failure::field("userId", "is unknown here: use userid");
    let failures = [both, unknown].into_iter().chain(of_everyone(place)).collect();
    let asked = parameters::selection().into_iter().chain(parameters::range()).chain(parameters::paging());
    let summary = "A page of a user's purchases; on management also of all users'";
    let files = [RowFormat::Csv, RowFormat::Ndjson].map(|format| {
        let media_type = format.media_type();
        let file = ResponseDoc::other(StatusCode::OK, "All selected purchases as a file", media_type);
        file.with_header("Content-Disposition", "Of a file: its name")
    });
    let mut operation = question(place, summary, listed, failures, asked.collect());
    operation.own.extend(files);
    operation.description = Some(FILES.to_owned());
    operation
}

/// `GET /v1/purchases/events`.
pub(super) fn events(place: &RouteInfo<'_>) -> Operation {
    let stream = ResponseDoc::other(StatusCode::OK, "Events, until the connection ends", "text/event-stream");
    let mut failures = vec![
        Failure::field("userid", "or username must be given, or everyone=true"),
        Failure::CursorExpired,
        Failure::NoEvents,
    ];
    failures.extend(of_everyone(place));
    failures.extend(no_answer(Subject::Purchase(place.role)));
    failures.extend(too_busy(place, false));
    let mut asked = parameters::selection().to_vec();
    asked.push(parameters::last_event_id());
    Operation {
        tag: "v1",
        summary: "A user's purchases as they become visible; on management also those of all users",
        description: Some(EVENTS.to_owned()),
        parameters: asked,
        own: vec![stream],
        failures,
        ..Operation::default()
    }
}

/// `GET /v1/purchases/{id}`.
pub(super) fn purchase(place: &RouteInfo<'_>) -> Operation {
    let shown = example::purchase().map(|purchase| json!(PurchaseBody::from(purchase)));
    let found =
        ResponseDoc::json(StatusCode::OK, "The purchase", named::<PurchaseBody>()).with_example(shown);
    let failures = vec![
        Failure::UnknownPurchase,
        Failure::ErasedPurchase,
        Failure::NoRoute,
        Failure::field("id", "is not valid: must be a UUID or 24 hex digits"),
    ];
    question(place, "One purchase", found, failures, vec![parameters::id()])
}

/// `GET /v1/summary`.
pub(super) fn summary(place: &RouteInfo<'_>) -> Operation {
    let counted =
        ResponseDoc::json(StatusCode::OK, "The number of purchases and their sum", named::<SummaryBody>())
            .with_example(Some(json!({"count": 1, "total_spent": 29.99})))
            .with_header(PENDING.0, PENDING.1);
    let neither = Failure::field("userid", "or username must be given, or everyone=true");
    let failures = std::iter::once(neither).chain(of_everyone(place)).collect();
    let summary = "The number of a user's purchases and their sum; on management also of all users";
    let asked = parameters::selection().into_iter().chain(parameters::range());
    question(place, summary, counted, failures, asked.collect())
}

/// `GET /v1/totals`.
pub(super) fn totals(place: &RouteInfo<'_>) -> Operation {
    let day = json!({"from": "2026-03-01T00:00:00.000Z", "to": "2026-03-02T00:00:00.000Z", "count": 1, "total_spent": 29.99});
    let counted =
        ResponseDoc::json(StatusCode::OK, "The periods with purchases, in order", named::<TotalsBody>())
            .with_example(Some(json!({"buckets": [day]})))
            .with_header(PENDING.0, PENDING.1);
    let long = "must be longer, or the range shorter: more than 1,000 periods have purchases";
    let failures = std::iter::once(Failure::field("per", long)).chain(of_everyone(place)).collect();
    let summary =
        "The number of a user's purchases and their sum per period; on management also of all users";
    let asked = parameters::selection().into_iter().chain(parameters::range()).chain(parameters::periods());
    question(place, summary, counted, failures, asked.collect())
}

/// The failure of a query for all users' purchases where they are not available.
fn of_everyone(place: &RouteInfo<'_>) -> Option<Failure> {
    (place.role == ServiceKind::Facing).then_some(Failure::NotForEveryone)
}

/// A query whose response can wait for a purchase.
fn question(
    place: &RouteInfo<'_>,
    summary: &'static str,
    answer: ResponseDoc,
    mut failures: Vec<Failure>,
    mut asked: Vec<Value>,
) -> Operation {
    failures.push(Failure::field("wait_for", "must be a purchase id: must be a UUID or 24 hex digits"));
    failures.extend(no_answer(Subject::Purchase(place.role)));
    failures.extend(too_busy(place, false));
    asked.extend(parameters::waiting());
    Operation { tag: "v1", summary, parameters: asked, own: vec![answer], failures, ..Operation::default() }
}

//! Our own API.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::api::{PageBody, PublishedBody, PurchaseBody, SummaryBody};
use utoipa::PartialSchema;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter};

use super::answers::{Answer, answers, no_answer, too_busy};
use super::whereabouts::{Place, operation_id};
use super::{Operations, buying, example, parameters};
use crate::dialect::Dialect;
use crate::resources::buy;
use crate::response::failure::{Failure, Subject};
use crate::service_kind::ServiceKind;

const PENDING: (&str, &str) = ("X-Purchase-Pending", "`true` when what was waited for is not stored yet");

/// `/v1/purchases`.
pub(super) fn purchases(place: &Place<'_>) -> Operations {
    let mut taken = taken(place.dialect);
    // Asked for at once it may not be stored yet, so it is waited for.
    let link = LinkBuilder::new()
        .operation_id(operation_id(&HttpMethod::Get, &place.in_v1("purchases/{id}")))
        .parameter("path.id", "$response.body#/purchase/id")
        .parameter("query.wait_for", "$response.body#/purchase/id")
        .description("The purchase, once it is stored");
    taken.links.push(("purchase", link.build()));
    let post = buying::operation(place, "Buys", place.dialect.timestamps, taken).tag("v1");

    let mut listed = Answer::json(StatusCode::OK, "A page of purchases", PageBody::schema())
        .with_example(serde_json::to_value(PageBody::from(example::page())).ok())
        .with_header(PENDING.0, PENDING.1);
    let next = LinkBuilder::new()
        .operation_id(operation_id(&HttpMethod::Get, place.path))
        .parameter("query.cursor", "$response.body#/next")
        .description("The next page, of the same listing");
    listed.links.push(("next", next.build()));
    let both = Failure::field("userid", "and username exclude each other: give one of them");
    let unknown = Failure::field("userId", "is unknown here: use userid");
    let failures = [both, unknown].into_iter().chain(of_everyone(place)).collect();
    let asked = parameters::selection().into_iter().chain(parameters::paging()).chain(parameters::waiting());
    let get = question(
        place,
        "A page of a user's purchases; on management also of everybody's",
        listed,
        failures,
        asked,
    );
    vec![(HttpMethod::Post, post), (HttpMethod::Get, get)]
}

/// `/v1/purchases/{id}`.
pub(super) fn purchase(place: &Place<'_>) -> Operations {
    let shown =
        example::purchase().and_then(|purchase| serde_json::to_value(PurchaseBody::from(purchase)).ok());
    let found = Answer::json(StatusCode::OK, "The purchase", PurchaseBody::schema()).with_example(shown);
    let failures = vec![
        Failure::UnknownPurchase,
        Failure::NoRoute,
        Failure::field("id", "is not valid: must be a UUID or 24 hex digits"),
    ];
    let asked = std::iter::once(parameters::id()).chain(parameters::waiting());
    vec![(HttpMethod::Get, question(place, "One purchase", found, failures, asked))]
}

/// `/v1/summary`.
pub(super) fn summary(place: &Place<'_>) -> Operations {
    let counted =
        Answer::json(StatusCode::OK, "How many purchases, and what they cost", SummaryBody::schema())
            .with_example(Some(json!({"count": 1, "total_spent": 29.99})))
            .with_header(PENDING.0, PENDING.1);
    let neither = Failure::field("userid", "or username must be given, or everyone=true");
    let failures = std::iter::once(neither).chain(of_everyone(place)).collect();
    let asked = parameters::selection().into_iter().chain(parameters::waiting());
    let what =
        "How many purchases a user has made, and what they cost together; on management also everybody's";
    vec![(HttpMethod::Get, question(place, what, counted, failures, asked))]
}

/// What is said of everybody's purchases where they are not listed.
fn of_everyone(place: &Place<'_>) -> Option<Failure> {
    (place.role == ServiceKind::Facing).then_some(Failure::NotForEveryone)
}

/// The answer to a buy.
pub(super) fn taken(dialect: &Dialect) -> Answer {
    let bought: Option<Value> = example::purchase().and_then(|purchase| {
        let receipt = example::receipt(&purchase);
        example::shown(buy::answer(dialect, purchase, receipt))
    });
    Answer::json(StatusCode::CREATED, "The purchase was taken, and is durable", PublishedBody::schema())
        .with_example(bought)
        .with_header("Location", "The purchase, asked for with `wait_for`: it is stored a moment later")
}

fn question(
    place: &Place<'_>,
    summary: &str,
    answer: Answer,
    mut failures: Vec<Failure>,
    parameters: impl Iterator<Item = Parameter>,
) -> OperationBuilder {
    failures.push(Failure::field("wait_for", "must be a purchase id: must be a UUID or 24 hex digits"));
    failures.extend(no_answer(Subject::Purchase(place.role)));
    failures.extend(too_busy(place, false));
    let operation = OperationBuilder::new().tag("v1").summary(Some(summary));
    parameters.fold(operation, OperationBuilder::parameter).responses(answers(place, vec![answer], &failures))
}

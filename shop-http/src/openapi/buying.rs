//! Buying: `POST /buy`, `POST /purchases` and `POST /v1/purchases`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, Required};

use super::answers::{Answer, answers, not_taken, too_busy};
use super::schemas::{Described, four_members, listed, new_purchase, object, time, word};
use super::whereabouts::Place;
use super::{Operations, example, listings, parameters, v1};
use crate::dialect::{Dialect, PurchaseResponse, Timestamps};
use crate::request::purchase::MEMBERS;
use crate::resources::buy;
use crate::response::failure::{Failure, Subject};
use crate::response::legacy_purchase::LegacyPurchase;
use crate::response::validation_error::{InvalidMember, NoObject, Problem, unknown};

const TAKEN: &str = "The purchase was taken, and is durable";

/// `POST /buy`.
pub(super) fn buy(place: &Place<'_>) -> Operations {
    vec![(
        HttpMethod::Post,
        operation(place, "Buys", place.dialect.timestamps, taken(place.dialect)).tag("purchases"),
    )]
}

/// `/purchases`: a purchase past the log, and everybody's.
pub(super) fn and_listing_of_everybody(place: &Place<'_>) -> Operations {
    let form = place.dialect.item;
    let example = example::purchase();
    let shown =
        example.and_then(|purchase| serde_json::to_value(LegacyPurchase::in_listing(&purchase, form)).ok());
    let stored = Answer::json(StatusCode::CREATED, "The purchase is stored", listed(form));
    let post = operation(
        place,
        "Writes a purchase straight into the store, for tests",
        Timestamps::Lenient,
        stored.with_example(shown),
    );
    vec![(HttpMethod::Post, post.tag("purchases")), (HttpMethod::Get, listings::of_everybody(place))]
}

/// The operation that takes a purchase and answers `taken`.
pub(super) fn operation(
    place: &Place<'_>,
    summary: &str,
    timestamps: Timestamps,
    taken: Answer,
) -> OperationBuilder {
    let taken = taken.with_header("X-Purchase-Id", "The purchase's id");
    let taken = taken
        .with_header("Idempotent-Replayed", "`true` when it was acknowledged before, under the same key");
    let body = ContentBuilder::new()
        .schema(Some(new_purchase(place.dialect, time(timestamps))))
        .example(Some(json!({"username": "ada", "userid": "u1", "price": 29.99})))
        .build();
    let body =
        RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True)).build();
    let failures = refused(place)
        .into_iter()
        .chain(not_taken(Subject::Purchase(place.role)))
        .chain(too_busy(place, true));
    OperationBuilder::new()
        .summary(Some(summary))
        .parameter(parameters::idempotency_key())
        .request_body(Some(body))
        .responses(answers(place, vec![taken], &failures.collect::<Vec<_>>()))
}

/// The answer to a buy in `dialect`.
fn taken(dialect: &Dialect) -> Answer {
    let PurchaseResponse::Says { code, status, message, purchase_as } = dialect.bought else {
        return v1::taken(dialect);
    };
    let fixed = |text| word([text]).build().into();
    let members =
        status.map(|status| ("status", fixed(status))).into_iter().chain([("message", fixed(message))]);
    let purchases =
        purchase_as.iter().map(|name| (*name, Described::from(four_members(dialect.item).build())));
    let schema = object(members.chain(purchases)).build();
    let bought = example::purchase().map(|purchase| {
        let receipt = example::receipt(&purchase);
        buy::answer(dialect, purchase, receipt)
    });
    Answer::json(code, TAKEN, schema).with_example(bought.and_then(example::shown))
}

/// What can be wrong with the request.
fn refused(place: &Place<'_>) -> Vec<Failure> {
    let wrong = |member: &'static str, problem, text: &str, input: &str| {
        let (member, text, input) = (member.into(), text.to_owned(), input.to_owned());
        Failure::Body(vec![InvalidMember { member, problem, text, input }])
    };
    let mut failures = unreadable(place);
    failures.extend([
        wrong("price", Problem::Missing, "", r#"{"username":"ada","userid":"u1"}"#),
        wrong("price", Problem::Value, "Price must not have more than 8 decimals", "0.123456789"),
    ]);
    if place.dialect.is_strict {
        failures.push(wrong("currency", Problem::Unknown, &unknown("currency", MEMBERS), "null"));
    }
    if place.dialect.distinguishes_empty_bodies {
        failures.push(Failure::EmptyBody);
    }
    failures
}

/// What can be wrong with any request that has a body, whatever it says.
pub(super) fn unreadable(place: &Place<'_>) -> Vec<Failure> {
    vec![
        Failure::Syntax("expected value at line 1 column 1".to_owned(), NoObject::NoJson(0)),
        Failure::field("Idempotency-Key", "must be one key of 1 to 255 visible ASCII characters"),
        Failure::BodyTooSlow(place.options.body_deadline),
        Failure::BodyTooLarge(place.options.body_limit),
        Failure::MediaType("text/plain".to_owned()),
        Failure::ContentEncoding,
    ]
}

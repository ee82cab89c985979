//! The operations that buy: `POST /buy`, `POST /purchases` and `POST /v1/purchases`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::PublishedPurchase;
use shop_core::api::PublishedBody;

use super::operation::Operation;
use super::responses::{ResponseDoc, not_taken, too_busy, unreadable};
use super::route_info::RouteInfo;
use super::schemas::{four_members, listed, named, new_purchase, object, time, word};
use super::{example, parameters};
use crate::dialect::{Dialect, PurchaseResponse, Timestamps};
use crate::request::purchase::MEMBERS;
use crate::resources::buy;
use crate::response::failure::{Failure, Subject};
use crate::response::legacy_purchase::LegacyPurchase;
use crate::response::validation_error::{InvalidMember, Problem, unknown};
use crate::routes::mount::Mount;

const TAKEN: &str = "The purchase was accepted and is durable";

/// `POST /buy`.
pub(super) fn buy(place: &RouteInfo<'_>) -> Operation {
    let taken = taken(place.dialect);
    Operation { tag: "purchases", ..operation(place, "Buys", place.dialect.timestamps, taken) }
}

/// `POST /purchases`: writes a purchase into the store without the log.
pub(super) fn into_store(place: &RouteInfo<'_>) -> Operation {
    let form = place.dialect.item;
    let shown = example::purchase().map(|purchase| json!(LegacyPurchase::in_listing(&purchase, form)));
    let stored =
        ResponseDoc::json(StatusCode::CREATED, "The purchase is stored", listed(form)).with_example(shown);
    let summary = "Writes a purchase into the store without the log, for tests";
    Operation { tag: "purchases", ..operation(place, summary, Timestamps::Lenient, stored) }
}

/// The operation that accepts a purchase and responds with `taken`.
pub(super) fn operation(
    place: &RouteInfo<'_>,
    summary: &'static str,
    timestamps: Timestamps,
    taken: ResponseDoc,
) -> Operation {
    let replayed = "`true` when it was acknowledged before with the same key";
    let mut failures = refused(place);
    failures.extend(not_taken(Subject::Purchase(place.role)));
    failures.extend(too_busy(place, true));
    let example = json!({"username": "ada", "userid": "u1", "price": 29.99});
    Operation {
        summary,
        parameters: vec![parameters::idempotency_key()],
        body: Some((new_purchase(place.dialect, time(timestamps)), example)),
        own: vec![
            taken
                .with_header("X-Purchase-Id", "The purchase's id")
                .with_header("Idempotent-Replayed", replayed),
        ],
        failures,
        ..Operation::default()
    }
}

/// The response to a buy in `dialect`.
pub(super) fn taken(dialect: &Dialect) -> ResponseDoc {
    let answer = match dialect.bought {
        PurchaseResponse::PurchaseAndReceipt => {
            let location = "The path of the purchase with `wait_for`, as it is stored a moment later";
            ResponseDoc::json(StatusCode::CREATED, TAKEN, named::<PublishedBody>())
                .with_header("Location", location)
        }
        PurchaseResponse::Says { code, status, message, purchase_as } => {
            let status = status.map(|status| ("status", word(&[status])));
            let members = status.into_iter().chain([("message", word(&[message]))]);
            let purchases = purchase_as.iter().map(|name| (*name, four_members(dialect.item)));
            ResponseDoc::json(code, TAKEN, object(members.chain(purchases)))
        }
    };
    let bought: Option<Value> = example::purchase().and_then(|purchase| {
        let receipt = example::receipt(&purchase);
        let bought = PublishedPurchase::new(purchase, receipt);
        example::shown(buy::answer(dialect, &Mount::default(), bought))
    });
    answer.with_example(bought)
}

/// The failures of an invalid request.
fn refused(place: &RouteInfo<'_>) -> Vec<Failure> {
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

//! The operation that buys many: `POST /v1/purchases:batch`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::api::{BatchPurchaseBody, BatchResultBody, BatchStatus, NDJSON};

use super::example;
use super::operation::Operation;
use super::responses::{ResponseDoc, too_busy};
use super::route_info::RouteInfo;
use super::schemas::{array, named, text};
use crate::response::failure::Failure;

/// `POST /v1/purchases:batch`.
pub(super) fn buy(place: &RouteInfo<'_>) -> Operation {
    let options = place.options;
    let mut purchases = array(&named::<BatchPurchaseBody>());
    purchases["maxItems"] = options.max_batch_purchases.into();
    let example = json!([{"key": "order-7", "username": "ada", "userid": "u1", "price": 29.99}]);
    let results = ResponseDoc::json(
        StatusCode::OK,
        "The result of each purchase, in order",
        array(&named::<BatchResultBody>()),
    )
    .with_example(Some(shown()));
    let lines = ResponseDoc::other(StatusCode::OK, "The result of each purchase, in order", NDJSON);
    let key = "is for one purchase: give each purchase of a batch its own `key`";
    let mut failures = vec![
        Failure::NoArray("expected value at line 1 column 1".to_owned()),
        Failure::field("Idempotency-Key", key),
        Failure::BodyTooSlow(options.body_read_timeout),
        Failure::BodyTooLarge(options.max_batch_bytes),
        Failure::TooManyPurchases(options.max_batch_purchases),
        Failure::BatchMediaType("text/plain".to_owned()),
        Failure::ContentEncoding,
    ];
    failures.extend(too_busy(place, true));
    Operation {
        tag: "v1",
        summary: "Buys many",
        description: Some(
            "The body is a JSON array, or NDJSON: one purchase per line. The response has the same form. An invalid \
             purchase does not affect the others. Purchases of one user are recorded in their order."
                .to_owned(),
        ),
        body: Some((purchases, example)),
        other_body: Some((NDJSON, text())),
        own: vec![results, lines],
        failures,
        ..Operation::default()
    }
}

/// The results of the example.
fn shown() -> Value {
    let acknowledged = example::purchase().map(|purchase| {
        let mut result = BatchResultBody::new(0, BatchStatus::Acknowledged);
        result.id = Some(purchase.id);
        result.timestamp = Some(purchase.timestamp);
        result.receipt = Some(example::receipt(&purchase).into());
        result
    });
    json!(acknowledged.into_iter().collect::<Vec<_>>())
}

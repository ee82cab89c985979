//! `scalable-shop`: a service in front of Kafka, and one in front of MongoDB, behind an ingress.
//!
//! | | |
//! |---|---|
//! | system | `scalable-shop` (000) |
//! | always in this form | `/scalable-shop-cm-server`, `/scalable-shop-cm-api`, `/buyList` |
//! | a buy | 200 `{"status":"Ok!","message"}` |
//! | a listing | `{"username","purchases"}` by name, oldest first, prices as text |
//! | an error | `{"status":"Error","message"}` |
//!
//! An invalid request is 400, a log or a store that is unavailable 503. An unreadable timestamp is
//! replaced by the time of receipt. `/buyList/{username}` returns `"status":"Ok!"` in place of the
//! name.

use axum::response::Response;
use serde_json::json;

use super::default_paths::{BASE, OUTAGES};
use super::errors::respond;
use super::*;

pub(super) static SCALABLE_SHOP: SystemForms = SystemForms {
    reading: ReadingRules {
        timestamps: Timestamps::LenientOrReceipt,
        ..BASE.reading
    },
    buy_response: BuyResponse {
        status_code: StatusCode::OK,
        status: Some("Ok!"),
        message: "Message successfully sent to Kafka!",
        purchase_members: &[],
    },
    purchase: PurchaseForm {
        price_is_text: true,
        ..BASE.purchase
    },
    listing: ListingForm {
        view: View::Owner,
        order: ListOrder::OldestFirst,
        key: Some(UserKey::UserName),
        ..BASE.listing
    },
    write_error,
    ..BASE
};

/// Writes an error as `{"status": "Error", "message": text}`.
fn write_error(error: &HttpError) -> Response {
    let (status, text) = OUTAGES.status_and_text(error, StatusCode::BAD_REQUEST);
    respond(error, status, json!({"status": "Error", "message": text}))
}

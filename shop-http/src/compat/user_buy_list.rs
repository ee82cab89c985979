//! `user-buy-list`: an Express service in front of Kafka, and one in front of MongoDB.
//!
//! | | |
//! |---|---|
//! | system | `user-buy-list` (001) |
//! | always in this form | `/api` |
//! | a buy | 201 `{"message","purchase"}` |
//! | a listing | an array by user id, newest first |
//! | an error | `{"error"}` |
//!
//! An invalid request is 400, a log or a store that is unavailable 500. Timestamps of clients are
//! ignored. Values that are falsy in JavaScript count as missing, and the text about missing
//! members names all required ones. `/health` says `ok`, also while a part is unavailable.

use axum::response::Response;
use serde_json::json;

use super::default_paths::{BASE, write_error_text};
use super::errors::{Outages, failed, respond};
use super::*;
use crate::response::validation_error::ValidationErrorKind;

pub(super) static USER_BUY_LIST: SystemForms = SystemForms {
    reading: ReadingRules {
        refuses_falsy: true,
        distinguishes_empty_bodies: false,
        timestamps: Timestamps::Ignored,
        ..BASE.reading
    },
    buy_response: BuyResponse {
        status: None,
        purchase_members: &["purchase"],
        ..BASE.buy_response
    },
    purchase: PurchaseForm {
        extras: ExtraMembers::IdAndVersion,
        ..BASE.purchase
    },
    listing: ListingForm {
        view: View::List,
        key: Some(UserKey::UserId),
        ..BASE.listing
    },
    write_error,
    health: HealthForm {
        healthy: "ok",
        counts_parts: false,
        reports_store: false,
        ..BASE.health
    },
};

/// The responses to failures of the log or the store.
const OUTAGES: Outages = Outages {
    failed_publish: failed("Failed to process purchase"),
    failed_write: failed("Failed to write purchase"),
    failed_query: Some(failed("Failed to fetch purchases")),
    failed_read: Some(failed("Failed to fetch purchases")),
};

/// The text about missing members.
const ALL_REQUIRED: &str = "Missing required fields: username, userid, price";

/// Writes an error as `{"error": text}`.
fn write_error(error: &HttpError) -> Response {
    let mut errors = error.errors.iter();
    let lacks_members = errors.any(|error| error.kind == ValidationErrorKind::Missing);
    // The system took a body of another media type for an empty one.
    if lacks_members || error.is_unsupported_media_type() {
        return respond(
            error,
            StatusCode::BAD_REQUEST,
            json!({"error": ALL_REQUIRED}),
        );
    }
    write_error_text(error, &OUTAGES)
}

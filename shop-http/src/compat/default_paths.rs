//! The form of the paths without a prefix, which is the base of all replaced systems.
//!
//! | | |
//! |---|---|
//! | system | `default`, `ecommerce`, `shopping-system` |
//! | always in this form | |
//! | a buy | 201, the purchase as `data` and as `purchase` |
//! | a listing | an object by user id, else by name, newest first |
//! | an error | `{"error"}` |
//!
//! An invalid request is 400, a log or a store that is unavailable 503.

use axum::response::Response;
use serde_json::json;

use super::errors::{Outages, respond, unavailable};
use super::*;

/// The base of all systems.
pub(super) const BASE: SystemForms = SystemForms {
    reading: ReadingRules {
        refuses_falsy: false,
        distinguishes_empty_bodies: true,
        integers_are_text: true,
        timestamps: Timestamps::Lenient,
    },
    buy_response: BuyResponse {
        status_code: StatusCode::CREATED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_members: &["data", "purchase"],
    },
    purchase: PurchaseForm {
        price_is_text: false,
        timestamp: TimestampForm::Iso,
        extras: ExtraMembers::Id,
    },
    listing: ListingForm {
        view: View::Everything,
        order: ListOrder::NewestFirst,
        key: None,
        empty_status: StatusCode::OK,
        default_limit: None,
    },
    write_error: |error| write_error_text(error, &OUTAGES),
    health: HealthForm {
        healthy: "healthy",
        counts_parts: true,
        reports_store: true,
        has_details: true,
    },
};

/// The system of the paths without a prefix by default.
pub(super) static DEFAULT_PATHS: SystemForms = BASE;

/// The responses to failures of the log or the store.
pub(super) const OUTAGES: Outages = Outages {
    failed_publish: unavailable("Failed to record purchase - messaging system unavailable"),
    failed_write: unavailable("Failed to write purchase"),
    failed_query: None,
    failed_read: None,
};

/// Writes an error as `{"error": text}`, with these responses to failures.
pub(super) fn write_error_text(error: &HttpError, outages: &Outages) -> Response {
    let (status, text) = outages.status_and_text(error, StatusCode::BAD_REQUEST);
    respond(error, status, json!({"error": text}))
}

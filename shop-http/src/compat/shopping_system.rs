//! `shopping-system`: a FastAPI service in front of Kafka, and one in front of MongoDB.
//!
//! | | |
//! |---|---|
//! | system | (paths of 004) |
//! | always in this form | `/api/v1` |
//! | a buy | 202 `{"status","message","data"}` |
//! | a listing | an array by user id, newest first, at most 100 without `limit` |
//! | an error | `{"detail"}` |
//!
//! An invalid request is 422 with a list of pydantic's entries. An unavailable log is 503, and a
//! listing that cannot be read is 500. Timestamps of clients are ignored, and timestamps of
//! responses are seconds since 1970. Numbers are not accepted as ids or names.

use super::default_paths::BASE;
use super::errors::{FASTAPI_OUTAGES, Outages, failed};
use super::*;

/// The system of the paths below `/api/v1`.
pub(super) static SHOPPING_SYSTEM: SystemForms = SystemForms {
    reading: ReadingRules {
        distinguishes_empty_bodies: false,
        integers_are_text: false,
        timestamps: Timestamps::Ignored,
        ..BASE.reading
    },
    buy_response: BuyResponse {
        status_code: StatusCode::ACCEPTED,
        purchase_members: &["data"],
        ..BASE.buy_response
    },
    purchase: PurchaseForm {
        timestamp: TimestampForm::Seconds,
        extras: ExtraMembers::None,
        ..BASE.purchase
    },
    listing: ListingForm {
        view: View::List,
        key: Some(UserKey::UserId),
        default_limit: Some(100),
        ..BASE.listing
    },
    // An error is written as FastAPI does.
    write_error: |error| OUTAGES.write_fastapi_error(error),
    ..BASE
};

/// The responses to failures of the log or the store.
const OUTAGES: Outages = Outages {
    failed_query: Some(failed("Proxy Error")),
    failed_read: Some(failed("Internal Server Error")),
    ..FASTAPI_OUTAGES
};

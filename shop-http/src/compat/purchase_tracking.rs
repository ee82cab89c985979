//! `purchase-tracking`: a Flask service in front of Kafka, and one in front of MongoDB.
//!
//! | | |
//! |---|---|
//! | system | `purchase-tracking` (003) |
//! | always in this form | |
//! | a buy | 201 `{"status","message","data"}` |
//! | a listing | `{"userid","purchases","count","total_spent"}`, oldest first; 404 when empty |
//! | an error | `{"error"}` |
//!
//! An invalid request is 400. An unavailable log is 500. On management, a listing that cannot be
//! read is 500, and a purchase that cannot be written is 503. Timestamps of clients are ignored,
//! and timestamps of responses contain microseconds and no zone. Each purchase is logged. `/health`
//! shows the status and the state of MongoDB alone.

use super::default_paths::{self, BASE, write_error_text};
use super::errors::{Outages, failed};
use super::*;

pub(super) static PURCHASE_TRACKING: SystemForms = SystemForms {
    reading: ReadingRules {
        timestamps: Timestamps::Ignored,
        ..BASE.reading
    },
    buy_response: BuyResponse {
        purchase_members: &["data"],
        ..BASE.buy_response
    },
    purchase: PurchaseForm {
        timestamp: TimestampForm::IsoWithoutZone,
        extras: ExtraMembers::None,
        ..BASE.purchase
    },
    listing: ListingForm {
        view: View::Summary,
        order: ListOrder::OldestFirst,
        key: Some(UserKey::UserId),
        empty_status: StatusCode::NOT_FOUND,
        ..BASE.listing
    },
    write_error: |error| write_error_text(error, &OUTAGES),
    health: HealthForm {
        has_details: false,
        ..BASE.health
    },
};

/// The responses to failures of the log or the store.
const OUTAGES: Outages = Outages {
    failed_publish: failed("Failed to record purchase - messaging system unavailable"),
    failed_read: Some(failed("Database error")),
    ..default_paths::OUTAGES
};

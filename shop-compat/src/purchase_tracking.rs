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
//! shows the status and the state of MongoDB alone. Management does not list the purchases of all
//! users, and pages of other origins may not call facing by default.

use shop_core::ports::ListOrder;
use shop_http::axum::http::StatusCode;
use shop_http::toolkit::{
    BuyResponse, ExtraMembers, HealthForm, ListingForm, Outage, Outages, PurchaseForm,
    ReadingRules, RequestFamily, ShortPathForm, TimestampForm, TimestampUse, UserKey, View,
    write_error_text,
};

use crate::dialect::{BASE, Dialect};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "purchase-tracking",
    short_paths: &FORM,
    write_error: Some(|error| write_error_text(error, &OUTAGES)),
    health: HealthForm {
        has_details: false,
        ..HealthForm::DEFAULT
    },
    allows_all_origins: false,
    request_metrics: FLASK_METRICS,
    ..BASE
};

/// What the system reads, and how it answers.
const FORM: ShortPathForm = ShortPathForm {
    reading: ReadingRules {
        timestamps: TimestampUse::Ignored,
        ..ShortPathForm::DEFAULT.reading
    },
    buy_response: BuyResponse {
        purchase_members: &["data"],
        ..ShortPathForm::DEFAULT.buy_response
    },
    purchase: PurchaseForm {
        timestamp: TimestampForm::IsoWithoutZone,
        extras: ExtraMembers::None,
        ..ShortPathForm::DEFAULT.purchase
    },
    listing: ListingForm {
        view: View::Summary,
        order: ListOrder::OldestFirst,
        key: Some(UserKey::UserId),
        empty_status: StatusCode::NOT_FOUND,
        ..ShortPathForm::DEFAULT.listing
    },
    lists_all_users: false,
    logs_purchases: true,
};

/// The responses to failures of the log or the store.
const OUTAGES: Outages = Outages {
    failed_publish: Outage::failed("Failed to record purchase - messaging system unavailable"),
    failed_read: Some(Outage::failed("Database error")),
    ..Outages::DEFAULT
};

/// The metrics of requests of Flask's exporter.
pub(crate) const FLASK_METRICS: RequestFamily = RequestFamily {
    requests: "flask_http_request_total",
    durations: Some("flask_http_request_duration_seconds"),
    panics: "flask_http_request_exceptions_total",
    version: "flask_exporter_info",
};

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
//!
//! The paths without a prefix have the default form in this dialect, but management does not list
//! the purchases of all users, and pages of other origins may not call facing by default.

use shop_http::ServiceKind;
use shop_http::axum::http::StatusCode;
use shop_http::axum::response::Response;
use shop_http::toolkit::{
    BuyResponse, ExtraMembers, HttpError, ListingForm, Outage, Outages, PurchaseForm, ReadingRules,
    Route, Service, ShortPathForm, TimestampForm, TimestampUse, UserKey, View, short_path_routes,
};

use crate::dialect::{BASE, Dialect};
use crate::fastapi;

pub(crate) const DIALECT: Dialect = Dialect {
    name: "shopping-system",
    short_paths: &ShortPathForm {
        lists_all_users: false,
        ..ShortPathForm::DEFAULT
    },
    allows_all_origins: false,
    document: Some(include_str!("../openapi/shopping-system.json")),
    ..BASE
};

/// What the system reads, and how it answers.
const FORM: ShortPathForm = ShortPathForm {
    reading: ReadingRules {
        distinguishes_empty_bodies: false,
        integers_are_text: false,
        timestamps: TimestampUse::Ignored,
        ..ShortPathForm::DEFAULT.reading
    },
    buy_response: BuyResponse {
        status_code: StatusCode::ACCEPTED,
        purchase_members: &["data"],
        ..ShortPathForm::DEFAULT.buy_response
    },
    purchase: PurchaseForm {
        timestamp: TimestampForm::Seconds,
        extras: ExtraMembers::None,
        ..ShortPathForm::DEFAULT.purchase
    },
    listing: ListingForm {
        view: View::List,
        key: Some(UserKey::UserId),
        default_limit: Some(100),
        ..ShortPathForm::DEFAULT.listing
    },
    ..ShortPathForm::DEFAULT
};

/// Returns the routes of the system, below `/api/v1`. A path with a slash at its end is redirected,
/// as FastAPI does.
pub(crate) fn routes(service: &Service) -> Vec<Route> {
    let mut routes = Vec::new();
    for route in short_path_routes(service, &FORM) {
        // On management, the system only listed the purchases of a user.
        if service.kind() == ServiceKind::Facing || route.path == "/purchases/{who}" {
            let route = route.below("/api/v1");
            routes.push(route.with_slash());
            routes.push(route);
        }
    }
    routes
}

/// The responses to failures of the log or the store.
const OUTAGES: Outages = Outages {
    failed_query: Some(Outage::failed("Proxy Error")),
    failed_read: Some(Outage::failed("Internal Server Error")),
    ..fastapi::OUTAGES
};

/// Writes an error as FastAPI does.
pub(crate) fn write_error(error: &HttpError) -> Response {
    fastapi::write_error_with(error, &OUTAGES)
}

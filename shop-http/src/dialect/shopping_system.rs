//! The dialect of shopping-system-k8s, under `/api/v1`.

use axum::http::StatusCode;

use super::forms::{
    Dialect, Errors, Extras, ItemForm, ListingForm, Outage, Outages, PathMatch, PurchaseResponse,
    TimestampForm, Timestamps, View,
};
use super::native::BASE;

/// The routes of the replaced system that its document has.
pub(super) const DOCUMENT: &str = include_str!("../../openapi/shopping-system.json");

const NOT_SENT: Outage = Outage { status: StatusCode::SERVICE_UNAVAILABLE, text: "Service Unavailable" };

const fn failed(text: &'static str) -> Option<Outage> {
    Some(Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text })
}

pub(super) static SHOPPING_SYSTEM: Dialect = Dialect {
    name: "shopping-system",
    bought: PurchaseResponse::Says {
        code: StatusCode::ACCEPTED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data"],
    },
    item: ItemForm { timestamp: TimestampForm::Seconds, extras: Extras::None, ..BASE.item },
    errors: Errors::Detail,
    distinguishes_empty_bodies: false,
    outages: Outages {
        publish: NOT_SENT,
        write: NOT_SENT,
        query: failed("Proxy Error"),
        read: failed("Internal Server Error"),
    },
    integers_are_text: false,
    timestamps: Timestamps::Ignored,
    listing: ListingForm { view: View::List, path_match: PathMatch::UserId, cap: Some(100), ..BASE.listing },
    ..BASE
};

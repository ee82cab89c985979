//! The dialect of user-buy-list.

use axum::http::StatusCode;

use super::forms::{
    Dialect, Extras, HealthForm, ItemForm, ListingForm, LowestPrice, MissingFields, Outage, Outages,
    PathMatch, PurchaseResponse, Timestamps, View,
};
use super::native::BASE;

const fn failed(text: &'static str) -> Outage {
    Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text }
}

pub(super) static USER_BUY_LIST: Dialect = Dialect {
    name: "user-buy-list",
    bought: PurchaseResponse::Says {
        code: StatusCode::CREATED,
        status: None,
        message: "Purchase recorded",
        purchase_as: &["purchase"],
    },
    item: ItemForm { extras: Extras::IdAndVersion, ..BASE.item },
    missing: MissingFields::AllRequired,
    distinguishes_empty_bodies: false,
    lowest_price: LowestPrice::AboveZero,
    outages: Outages {
        publish: failed("Failed to process purchase"),
        write: failed("Failed to write purchase"),
        query: Some(failed("Failed to fetch purchases")),
        read: Some(failed("Failed to fetch purchases")),
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm { view: View::List, path_match: PathMatch::UserId, ..BASE.listing },
    health: HealthForm { healthy: "ok", reports_store: false, has_details: true },
    ..BASE
};

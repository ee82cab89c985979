//! What clients of the purchase tracking system know.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::{
    Bought, Dialect, Extras, ItemForm, ListingForm, LooksFor, Outage, Outages, TimestampForm, Timestamps,
    View, ours::EVERYBODY,
};

pub(super) static PURCHASE_TRACKING: Dialect = Dialect {
    name: "purchase-tracking",
    bought: Bought::Says {
        code: StatusCode::CREATED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data"],
    },
    item: ItemForm { timestamp: TimestampForm::IsoWithoutZone, extras: Extras::None, ..EVERYBODY.item },
    outages: Outages {
        taking: Outage { status: StatusCode::INTERNAL_SERVER_ERROR, ..EVERYBODY.outages.taking },
        reading: Some(Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text: "Database error" }),
        ..EVERYBODY.outages
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::Summary,
        order: ListOrder::OldestFirst,
        looks_for: LooksFor::UserId,
        nothing: StatusCode::NOT_FOUND,
        ..EVERYBODY.listing
    },
    ..EVERYBODY
};

//! The dialect of purchase-tracking.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::forms::{
    Dialect, Extras, HealthForm, ItemForm, ListingForm, Outage, Outages, PathMatch, PurchaseResponse,
    TimestampForm, Timestamps, View,
};
use super::native::BASE;

pub(super) static PURCHASE_TRACKING: Dialect = Dialect {
    name: "purchase-tracking",
    bought: PurchaseResponse::Says {
        code: StatusCode::CREATED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data"],
    },
    item: ItemForm { timestamp: TimestampForm::IsoWithoutZone, extras: Extras::None, ..BASE.item },
    outages: Outages {
        publish: Outage { status: StatusCode::INTERNAL_SERVER_ERROR, ..BASE.outages.publish },
        read: Some(Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text: "Database error" }),
        ..BASE.outages
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::Summary,
        order: ListOrder::OldestFirst,
        path_match: PathMatch::UserId,
        nothing: StatusCode::NOT_FOUND,
        ..BASE.listing
    },
    health: HealthForm { has_details: false, ..BASE.health },
    logs_purchases: true,
    ..BASE
};

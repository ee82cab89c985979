//! The native API, and the default dialect, which is compatible with most clients of the replaced systems.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::forms::{
    Dialect, Errors, Extras, HealthForm, ItemForm, ListingForm, LowestPrice, MissingFields, Outage, Outages,
    PathMatch, PriceForm, PurchaseResponse, TimestampForm, Timestamps, View,
};

/// The base of all dialects.
pub(super) const BASE: Dialect = Dialect {
    name: "default",
    bought: PurchaseResponse::Says {
        code: StatusCode::CREATED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data", "purchase"],
    },
    item: ItemForm { price: PriceForm::Number, timestamp: TimestampForm::Iso, extras: Extras::Id },
    errors: Errors::Text,
    missing: MissingFields::Listed,
    distinguishes_empty_bodies: true,
    lowest_price: LowestPrice::Zero,
    outages: Outages {
        publish: Outage {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: "Failed to record purchase - messaging system unavailable",
        },
        write: Outage { status: StatusCode::SERVICE_UNAVAILABLE, text: "Failed to write purchase" },
        query: None,
        read: None,
    },
    is_strict: false,
    integers_are_text: true,
    timestamps: Timestamps::Lenient,
    listing: ListingForm {
        view: View::Everything,
        order: ListOrder::NewestFirst,
        path_match: PathMatch::Either,
        nothing: StatusCode::OK,
        cap: None,
    },
    health: HealthForm { healthy: "healthy", reports_store: true, has_details: true },
    logs_purchases: false,
    document: None,
};

pub(super) static DEFAULT: Dialect = BASE;

/// The native API.
pub(crate) static V1: Dialect = Dialect {
    name: "v1",
    bought: PurchaseResponse::PurchaseAndReceipt,
    errors: Errors::Problem,
    distinguishes_empty_bodies: false,
    is_strict: true,
    integers_are_text: false,
    timestamps: Timestamps::Strict,
    ..BASE
};

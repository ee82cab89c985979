//! Our own API, and what satisfies most clients of the replaced systems at once.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::{
    Bought, Dialect, Errors, Extras, HealthForm, ItemForm, ListingForm, LooksFor, LowestPrice, Missing,
    Outage, Outages, PriceForm, TimestampForm, Timestamps, View,
};

/// What dialects begin with.
pub(super) const EVERYBODY: Dialect = Dialect {
    name: "default",
    bought: Bought::Says {
        code: StatusCode::CREATED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data", "purchase"],
    },
    item: ItemForm { price: PriceForm::Number, timestamp: TimestampForm::Iso, extras: Extras::Id },
    errors: Errors::Text,
    invalid: StatusCode::BAD_REQUEST,
    no_object: StatusCode::BAD_REQUEST,
    no_json: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    missing: Missing::Listed,
    tells_empty_bodies: true,
    lowest_price: LowestPrice::Zero,
    outages: Outages {
        taking: Outage {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: "Failed to record purchase - messaging system unavailable",
        },
        writing: Outage { status: StatusCode::SERVICE_UNAVAILABLE, text: "Failed to write purchase" },
        asking: None,
        reading: None,
    },
    is_strict: false,
    integers_are_text: true,
    timestamps: Timestamps::Lenient,
    listing: ListingForm {
        view: View::Everything,
        order: ListOrder::NewestFirst,
        looks_for: LooksFor::Either,
        nothing: StatusCode::OK,
        cap: None,
    },
    health: HealthForm { well: "healthy", tells_of_the_store: true },
};

pub(super) static DEFAULT: Dialect = EVERYBODY;

const NOT_RECORDED: Outage = Outage {
    status: StatusCode::SERVICE_UNAVAILABLE,
    text: "The purchase was not recorded: the service behind is unavailable",
};

/// Our own API.
pub(crate) static V1: Dialect = Dialect {
    name: "v1",
    bought: Bought::PurchaseAndReceipt,
    errors: Errors::Problem,
    invalid: StatusCode::UNPROCESSABLE_ENTITY,
    tells_empty_bodies: false,
    outages: Outages { taking: NOT_RECORDED, writing: NOT_RECORDED, asking: None, reading: None },
    is_strict: true,
    integers_are_text: false,
    timestamps: Timestamps::Strict,
    ..EVERYBODY
};

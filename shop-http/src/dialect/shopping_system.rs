//! What clients of shopping-system-k8s know, all of it under `/api/v1`.

use axum::http::StatusCode;

use super::{
    Bought, Dialect, Errors, Extras, ItemForm, ListingForm, LooksFor, Outage, Outages, TimestampForm,
    Timestamps, View, ours::EVERYBODY,
};

const NOT_SENT: Outage = Outage { status: StatusCode::SERVICE_UNAVAILABLE, text: "Service Unavailable" };

const fn failed(text: &'static str) -> Option<Outage> {
    Some(Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text })
}

pub(super) static SHOPPING_SYSTEM: Dialect = Dialect {
    name: "shopping-system",
    bought: Bought::Says {
        code: StatusCode::ACCEPTED,
        status: Some("success"),
        message: "Purchase recorded",
        purchase_as: &["data"],
    },
    item: ItemForm { timestamp: TimestampForm::Seconds, extras: Extras::None, ..EVERYBODY.item },
    errors: Errors::Detail,
    invalid: StatusCode::UNPROCESSABLE_ENTITY,
    no_object: StatusCode::UNPROCESSABLE_ENTITY,
    no_json: StatusCode::UNPROCESSABLE_ENTITY,
    tells_empty_bodies: false,
    outages: Outages {
        taking: NOT_SENT,
        writing: NOT_SENT,
        asking: failed("Proxy Error"),
        reading: failed("Internal Server Error"),
    },
    integers_are_text: false,
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::List,
        looks_for: LooksFor::UserId,
        cap: Some(100),
        ..EVERYBODY.listing
    },
    ..EVERYBODY
};

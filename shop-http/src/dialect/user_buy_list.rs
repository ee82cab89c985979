//! What clients of user-buy-list know.

use axum::http::StatusCode;

use super::{
    Bought, Dialect, Extras, HealthForm, ItemForm, ListingForm, LooksFor, LowestPrice, Missing, Outage,
    Outages, Timestamps, View, ours::EVERYBODY,
};

const fn failed(text: &'static str) -> Outage {
    Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text }
}

pub(super) static USER_BUY_LIST: Dialect = Dialect {
    name: "user-buy-list",
    bought: Bought::Says {
        code: StatusCode::CREATED,
        status: None,
        message: "Purchase recorded",
        purchase_as: &["purchase"],
    },
    item: ItemForm { extras: Extras::IdAndVersion, ..EVERYBODY.item },
    missing: Missing::AllRequired,
    tells_empty_bodies: false,
    lowest_price: LowestPrice::AboveZero,
    outages: Outages {
        taking: failed("Failed to process purchase"),
        writing: failed("Failed to write purchase"),
        asking: Some(failed("Failed to fetch purchases")),
        reading: Some(failed("Failed to fetch purchases")),
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm { view: View::List, looks_for: LooksFor::UserId, ..EVERYBODY.listing },
    health: HealthForm { well: "ok", tells_of_the_store: false },
    ..EVERYBODY
};

//! What clients of scalable-shop know.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::{
    Bought, Dialect, Errors, ItemForm, ListingForm, LooksFor, PriceForm, Timestamps, View, ours::EVERYBODY,
};

pub(super) static SCALABLE_SHOP: Dialect = Dialect {
    name: "scalable-shop",
    bought: Bought::Says {
        code: StatusCode::OK,
        status: Some("Ok!"),
        message: "Message successfully sent to Kafka!",
        purchase_as: &[],
    },
    item: ItemForm { price: PriceForm::Text, ..EVERYBODY.item },
    errors: Errors::StatusAndMessage,
    timestamps: Timestamps::LenientOrReceipt,
    listing: ListingForm {
        view: View::Owner,
        order: ListOrder::OldestFirst,
        looks_for: LooksFor::UserName,
        ..EVERYBODY.listing
    },
    ..EVERYBODY
};

//! The dialect of scalable-shop.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::forms::{
    Dialect, Errors, ItemForm, ListingForm, PathMatch, PriceForm, PurchaseResponse, Timestamps, View,
};
use super::native::BASE;

pub(super) static SCALABLE_SHOP: Dialect = Dialect {
    name: "scalable-shop",
    bought: PurchaseResponse::Says {
        code: StatusCode::OK,
        status: Some("Ok!"),
        message: "Message successfully sent to Kafka!",
        purchase_as: &[],
    },
    item: ItemForm { price: PriceForm::Text, ..BASE.item },
    errors: Errors::StatusAndMessage,
    timestamps: Timestamps::LenientOrReceipt,
    listing: ListingForm {
        view: View::Owner,
        order: ListOrder::OldestFirst,
        path_match: PathMatch::UserName,
        ..BASE.listing
    },
    ..BASE
};

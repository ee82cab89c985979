//! The dialects: the default one, the native API, and one for each replaced system.

use axum::http::StatusCode;
use shop_core::ports::ListOrder;

use super::forms::{
    By, Dialect, Errors, Extras, HealthForm, ItemForm, ListingForm, MissingFields, Outage, Outages,
    PriceForm, PurchaseResponse, TimestampForm, Timestamps, View,
};

const fn failed(text: &'static str) -> Outage {
    Outage { status: StatusCode::INTERNAL_SERVER_ERROR, text }
}

const fn unavailable(text: &'static str) -> Outage {
    Outage { status: StatusCode::SERVICE_UNAVAILABLE, text }
}

/// A response with the purchase under each of these names.
const fn recorded(
    code: StatusCode,
    status: Option<&'static str>,
    purchase_as: &'static [&'static str],
) -> PurchaseResponse {
    PurchaseResponse::Says { code, status, message: "Purchase recorded", purchase_as }
}

/// The base of all dialects.
const BASE: Dialect = Dialect {
    name: "default",
    bought: recorded(StatusCode::CREATED, Some("success"), &["data", "purchase"]),
    item: ItemForm { price: PriceForm::Number, timestamp: TimestampForm::Iso, extras: Extras::Id },
    errors: Errors::Text,
    missing: MissingFields::Listed,
    distinguishes_empty_bodies: true,
    may_be_free: true,
    outages: Outages {
        publish: unavailable("Failed to record purchase - messaging system unavailable"),
        write: unavailable("Failed to write purchase"),
        query: None,
        read: None,
    },
    is_strict: false,
    integers_are_text: true,
    timestamps: Timestamps::Lenient,
    listing: ListingForm {
        view: View::Everything,
        order: ListOrder::NewestFirst,
        by: None,
        nothing: StatusCode::OK,
        cap: None,
    },
    health: HealthForm { healthy: "healthy", counts_parts: true, reports_store: true, has_details: true },
    is_open: true,
    logs_purchases: false,
    has_flask_durations: false,
    document: None,
};

/// What the systems written with FastAPI have in common.
const FASTAPI: Dialect = Dialect {
    errors: Errors::Detail,
    distinguishes_empty_bodies: false,
    outages: Outages {
        publish: unavailable("Service Unavailable"),
        write: unavailable("Service Unavailable"),
        ..BASE.outages
    },
    integers_are_text: false,
    ..BASE
};

/// The dialects that can be configured. Two of the replaced systems have routes under their own prefixes only;
/// elsewhere their dialect is the default one.
pub(super) static NAMED: [&Dialect; 6] = [
    &DEFAULT,
    &SCALABLE_SHOP,
    &USER_BUY_LIST,
    &Dialect { name: "ecommerce", document: Some(include_str!("../../openapi/ecommerce.json")), ..BASE },
    &PURCHASE_TRACKING,
    &Dialect {
        name: "shopping-system",
        is_open: false,
        document: Some(include_str!("../../openapi/shopping-system.json")),
        ..BASE
    },
];

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
    is_open: false,
    timestamps: Timestamps::LenientOrReceipt,
    listing: ListingForm {
        view: View::Owner,
        order: ListOrder::OldestFirst,
        by: Some(By::UserName),
        ..BASE.listing
    },
    ..BASE
};

pub(super) static USER_BUY_LIST: Dialect = Dialect {
    name: "user-buy-list",
    bought: recorded(StatusCode::CREATED, None, &["purchase"]),
    item: ItemForm { extras: Extras::IdAndVersion, ..BASE.item },
    missing: MissingFields::AllRequired,
    distinguishes_empty_bodies: false,
    may_be_free: false,
    outages: Outages {
        publish: failed("Failed to process purchase"),
        write: failed("Failed to write purchase"),
        query: Some(failed("Failed to fetch purchases")),
        read: Some(failed("Failed to fetch purchases")),
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm { view: View::List, by: Some(By::UserId), ..BASE.listing },
    health: HealthForm { healthy: "ok", counts_parts: false, reports_store: false, has_details: true },
    ..BASE
};

/// Of the paths `/users` and `/orders`.
pub(super) static ECOMMERCE: Dialect = Dialect { name: "ecommerce", ..FASTAPI };

pub(super) static PURCHASE_TRACKING: Dialect = Dialect {
    name: "purchase-tracking",
    bought: recorded(StatusCode::CREATED, Some("success"), &["data"]),
    item: ItemForm { timestamp: TimestampForm::IsoWithoutZone, extras: Extras::None, ..BASE.item },
    outages: Outages {
        publish: failed(BASE.outages.publish.text),
        read: Some(failed("Database error")),
        ..BASE.outages
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm {
        view: View::Summary,
        order: ListOrder::OldestFirst,
        by: Some(By::UserId),
        nothing: StatusCode::NOT_FOUND,
        ..BASE.listing
    },
    health: HealthForm { has_details: false, ..BASE.health },
    is_open: false,
    logs_purchases: true,
    has_flask_durations: true,
    ..BASE
};

/// Of the paths below `/api/v1`.
pub(super) static SHOPPING_SYSTEM: Dialect = Dialect {
    name: "shopping-system",
    bought: recorded(StatusCode::ACCEPTED, Some("success"), &["data"]),
    item: ItemForm { timestamp: TimestampForm::Seconds, extras: Extras::None, ..BASE.item },
    outages: Outages {
        query: Some(failed("Proxy Error")),
        read: Some(failed("Internal Server Error")),
        ..FASTAPI.outages
    },
    timestamps: Timestamps::Ignored,
    listing: ListingForm { view: View::List, by: Some(By::UserId), cap: Some(100), ..BASE.listing },
    ..FASTAPI
};

//! What clients of ecommerce know, all of it under `/users` and `/orders`.

use axum::http::StatusCode;

use super::{Dialect, Errors, Outage, Outages, ours::EVERYBODY};

const NOT_WRITTEN: Outage = Outage { status: StatusCode::SERVICE_UNAVAILABLE, text: "Service Unavailable" };

pub(super) static ECOMMERCE: Dialect = Dialect {
    name: "ecommerce",
    errors: Errors::Detail,
    invalid: StatusCode::UNPROCESSABLE_ENTITY,
    no_object: StatusCode::UNPROCESSABLE_ENTITY,
    no_json: StatusCode::UNPROCESSABLE_ENTITY,
    tells_empty_bodies: false,
    outages: Outages { taking: NOT_WRITTEN, writing: NOT_WRITTEN, ..EVERYBODY.outages },
    integers_are_text: false,
    ..EVERYBODY
};

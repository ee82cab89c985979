//! The dialect of ecommerce, under `/users` and `/orders`.

use axum::http::StatusCode;

use super::forms::{Dialect, Errors, Outage, Outages};
use super::native::BASE;

/// The routes of the replaced system that its document has.
pub(super) const DOCUMENT: &str = include_str!("../../openapi/ecommerce.json");

const NOT_WRITTEN: Outage = Outage { status: StatusCode::SERVICE_UNAVAILABLE, text: "Service Unavailable" };

pub(super) static ECOMMERCE: Dialect = Dialect {
    name: "ecommerce",
    errors: Errors::Detail,
    distinguishes_empty_bodies: false,
    outages: Outages { publish: NOT_WRITTEN, write: NOT_WRITTEN, ..BASE.outages },
    integers_are_text: false,
    ..BASE
};

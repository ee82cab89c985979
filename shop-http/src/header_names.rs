//! The names of the headers that this service defines, parsed.

use axum::http::HeaderName;
use shop_api::header;

pub(crate) const PURCHASE_ID: HeaderName = HeaderName::from_static(header::PURCHASE_ID);
pub(crate) const PENDING: HeaderName = HeaderName::from_static(header::PURCHASE_PENDING);
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static(header::REQUEST_ID);
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static(header::CORRELATION_ID);
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static(header::IDEMPOTENCY_KEY);
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);
/// Says that a write was a repetition, whose result was returned again.
pub const REPLAYED: HeaderName = HeaderName::from_static(header::IDEMPOTENT_REPLAYED);
pub(crate) const FOUND_BY: HeaderName = HeaderName::from_static(header::FOUND_BY);
/// The media types of bodies (<https://www.w3.org/TR/ldp/#header-accept-post>).
pub(crate) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

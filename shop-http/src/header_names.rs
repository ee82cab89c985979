//! The headers of our own.

use axum::http::HeaderName;

/// Of every answer to a buy that was taken: the purchase's id.
pub(crate) const PURCHASE_ID: HeaderName = HeaderName::from_static("x-purchase-id");
/// Of an answer that waited in vain: what it waited for is not stored yet.
pub(crate) const PENDING: HeaderName = HeaderName::from_static("x-purchase-pending");
/// Of a request and of its answer: the request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Of a buy: what makes it repeatable. Of the answer to one that failed: what to repeat it with.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Of a request: the trace that it is part of.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Of the answer to a purchase, a user or an order that was there already, under the same key.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Of a listing of what may be a user's id or a user's name: which of the two it was found by.
pub(crate) const FOUND_BY: HeaderName = HeaderName::from_static("x-found-by");

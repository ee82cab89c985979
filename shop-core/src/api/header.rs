//! The names of the headers that are not in every HTTP library, in lower case.

/// Of a request that writes: what makes it repeatable. Of the answer to one that failed: the key to repeat it with.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Of the answer to a purchase, a user or an order that was there already, under the same key: `true`.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// Of every answer to a buy that was taken: the purchase's id.
pub const PURCHASE_ID: &str = "x-purchase-id";
/// Of an answer that waited in vain: `true`, as what it waited for is not stored yet.
pub const PURCHASE_PENDING: &str = "x-purchase-pending";
/// Of a request and of its answer: the request's id.
pub const REQUEST_ID: &str = "x-request-id";
/// Of a request: the trace that it is part of, as W3C Trace Context writes it.
pub const TRACEPARENT: &str = "traceparent";
/// Of a listing of what may be a user's id or a user's name: which of the two it was found by.
pub const FOUND_BY: &str = "x-found-by";

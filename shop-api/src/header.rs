//! Names of HTTP headers that HTTP libraries do not define, in lower case.

/// On a request that writes: its idempotency key. On the response to a failed write: the key with
/// which a retry is safe.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// On the response to a purchase, user or order that already existed with the same key: `true`.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";
/// On every response to an accepted purchase: the purchase's id.
pub const PURCHASE_ID: &str = "x-purchase-id";
/// On a response whose wait timed out: `true`, because the awaited purchase is not stored yet.
pub const PURCHASE_PENDING: &str = "x-purchase-pending";
/// On a request and its response: the request's id.
pub const REQUEST_ID: &str = "x-request-id";
/// On a request and its response: the correlation id of the client, or the request id if the client
/// sent no correlation id.
pub const CORRELATION_ID: &str = "x-correlation-id";
/// On a request: its trace, in W3C Trace Context format.
pub const TRACEPARENT: &str = "traceparent";
/// On a listing by an ambiguous path: whether it was found by the user's id or by the user's name.
pub const FOUND_BY: &str = "x-found-by";

//! Bad requests with a valid body. Each line is a case.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};

/// Request line, headers, and the expected status and text.
type Case = (
    &'static str,
    &'static [(&'static str, &'static [u8])],
    u16,
    &'static str,
);

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

/// To facing, with a valid body.
pub(super) const TO_FACING: &[Case] = &[
    // Unknown paths.
    ("POST /", &[JSON], 405, "Method Not Allowed"),
    ("POST //buy", &[JSON], 404, "Not Found"),
    ("POST /Buy", &[JSON], 404, "Not Found"),
    ("POST /buy/", &[JSON], 404, "Not Found"),
    ("POST /%62uy/..", &[JSON], 404, "Not Found"),
    ("POST /purchases", &[JSON], 404, "Not Found"),
    ("GET /purchases", &[], 404, "Not Found"),
    ("POST /v1", &[JSON], 405, "Method Not Allowed"),
    ("POST /v2/purchases", &[JSON], 404, "Not Found"),
    ("POST /api/v1/purchases", &[JSON], 404, "Not Found"),
    (
        "POST /scalable-shop-cm-server/scalable-shop-cm-server/buy",
        &[JSON],
        404,
        "Not Found",
    ),
    ("GET /..%2f..%2fetc%2fpasswd", &[], 404, "Not Found"),
    ("GET /docs/..%2F..%2FCargo.toml", &[], 404, "Not Found"),
    ("GET /getAllUserBuys", &[], 404, "Not Found"),
    ("GET /getAllUserBuys/a/b", &[], 404, "Not Found"),
    ("GET /getAllUserBuys/../health", &[], 404, "Not Found"),
    // Probes and metrics exist once.
    ("GET /api/metrics", &[], 404, "Not Found"),
    ("GET /scalable-shop-cm-server/livez", &[], 404, "Not Found"),
    // Wrong methods.
    ("GET /buy", &[], 405, "Method Not Allowed"),
    ("DELETE /buy", &[], 405, "Method Not Allowed"),
    ("BREW /buy", &[JSON], 405, "Method Not Allowed"),
    ("post /buy", &[JSON], 405, "Method Not Allowed"),
    (
        "POST /getAllUserBuys/u1",
        &[JSON],
        405,
        "Method Not Allowed",
    ),
    (
        "DELETE /v1/purchases/0190163d-8694-739b-aea5-966c26f8ad91",
        &[],
        405,
        "Method Not Allowed",
    ),
    ("DELETE /api/v1/buy", &[], 405, "Method Not Allowed"),
    // Other media types.
    (
        "POST /buy",
        &[("content-type", b"text/plain")],
        415,
        "application/json",
    ),
    (
        "POST /buy",
        &[("content-type", b"application/jsonp")],
        415,
        "application/json",
    ),
    (
        "POST /buy",
        &[("content-type", b"application/x-www-form-urlencoded")],
        415,
        "application/json",
    ),
    (
        "POST /buy",
        &[("content-type", b"application/json, text/plain")],
        415,
        "application/json",
    ),
    (
        "POST /buy",
        &[("content-type", b"\xff\xfe")],
        415,
        "application/json",
    ),
    (
        "POST /v1/purchases",
        &[("content-type", b"text/plain")],
        415,
        "application/json",
    ),
    // As in user-buy-list, where such a body was empty.
    (
        "POST /api/buy",
        &[("content-type", b"text/plain")],
        400,
        "Missing required fields: username, userid, price",
    ),
    (
        "POST /api/buy",
        &[JSON, ("content-encoding", b"gzip")],
        415,
        "Content-Encoding",
    ),
    (
        "POST /api/v1/buy",
        &[("content-type", b"text/plain")],
        422,
        "valid dictionary",
    ),
    (
        "POST /buy",
        &[JSON, ("content-encoding", b"gzip")],
        415,
        "Content-Encoding",
    ),
    (
        "POST /buy",
        &[JSON, ("content-encoding", b"identity, gzip")],
        415,
        "Content-Encoding",
    ),
    (
        "POST /v1/purchases",
        &[JSON, ("content-encoding", b"deflate")],
        415,
        "Content-Encoding",
    ),
    (
        "POST /api/v1/buy",
        &[JSON, ("content-encoding", b"gzip")],
        422,
        "valid dictionary",
    ),
    // Invalid keys.
    (
        "POST /buy",
        &[JSON, ("idempotency-key", b"")],
        400,
        "Idempotency-Key must be one key",
    ),
    (
        "POST /buy",
        &[JSON, ("idempotency-key", b"with space")],
        400,
        "Idempotency-Key must be one key",
    ),
    (
        "POST /buy",
        &[JSON, ("idempotency-key", b"caf\xc3\xa9")],
        400,
        "Idempotency-Key must be one key",
    ),
    (
        "POST /buy",
        &[JSON, ("idempotency-key", &[b'x'; 256])],
        400,
        "Idempotency-Key must be one key",
    ),
    (
        "POST /buy",
        &[JSON, ("idempotency-key", b"a"), ("idempotency-key", b"a")],
        400,
        "must be one key",
    ),
    (
        "POST /v1/purchases",
        &[JSON, ("idempotency-key", b"with space")],
        422,
        "Idempotency-Key must be one key",
    ),
    (
        "POST /api/v1/buy",
        &[JSON, ("idempotency-key", b"with space")],
        422,
        "Idempotency-Key must be one key",
    ),
    // Invalid users.
    (
        "GET /getAllUserBuys/%20",
        &[],
        400,
        "userid must not be blank",
    ),
    (
        "GET /getAllUserBuys/a%0D%0Ax-evil:%201",
        &[],
        400,
        "control characters",
    ),
    (
        "GET /getAllUserBuys/%FF",
        &[],
        400,
        "userid must be UTF-8 text",
    ),
    (
        "GET /api/v1/getAllUserBuys/%20",
        &[],
        422,
        "userid must not be blank",
    ),
    (
        "GET /api/getAllUserBuys/%FF",
        &[],
        400,
        "userid must be UTF-8 text",
    ),
    (
        "GET /v1/purchases?userid=",
        &[],
        422,
        "userid must not be blank",
    ),
    (
        "GET /v1/purchases?username=%20",
        &[],
        422,
        "username must not be blank",
    ),
    (
        "GET /v1/purchases?userid=a%00b",
        &[],
        422,
        "userid must not contain control characters",
    ),
    ("GET /v1/purchases/not-an-id", &[], 422, "id is not valid"),
    (
        "GET /v1/purchases/0190163d-8694-739b-aea5-966c26f8ad9g",
        &[],
        422,
        "id is not valid",
    ),
    (
        "GET /v1/purchases/0190163d-8694-739b-aea5-966c26f8ad91",
        &[],
        404,
        "No purchase with this id",
    ),
    // Invalid parameters.
    (
        "GET /getAllUserBuys/u?by=shoe",
        &[],
        400,
        "by must be userid or username",
    ),
    ("GET /getAllUserBuys/u?view=shoe", &[], 400, "view must be"),
    (
        "GET /getAllUserBuys/u?order=sideways",
        &[],
        400,
        "order must be",
    ),
    ("GET /getAllUserBuys/u?limit=0", &[], 400, "limit must be"),
    (
        "GET /getAllUserBuys/u?limit=1001",
        &[],
        400,
        "limit must be",
    ),
    (
        "GET /getAllUserBuys/u?limit=99999999999999999999",
        &[],
        400,
        "limit must be",
    ),
    ("GET /getAllUserBuys/u?limit=1&limit=2", &[], 400, "limit"),
    ("GET /getAllUserBuys/u?cursor=made-up", &[], 400, "cursor"),
    ("GET /getAllUserBuys/u?wait_for=u9", &[], 400, "wait_for"),
    ("GET /getAllUserBuys/u?wait=11", &[], 400, "wait must be"),
    ("GET /getAllUserBuys/u?wait=NaN", &[], 400, "wait must be"),
    ("GET /getAllUserBuys/u?x=%FF", &[], 400, "query"),
    (
        "GET /v1/purchases?limit[$gt]=1&limit=x",
        &[],
        422,
        "limit must be",
    ),
    (
        "GET /v1/purchases?userid=u&cursor=made-up",
        &[],
        422,
        "cursor",
    ),
    ("GET /v1/purchases?x=%FF", &[], 422, "query"),
    (
        "GET /api/v1/getAllUserBuys/u?limit=0",
        &[],
        422,
        "limit must be",
    ),
    (
        "GET /api/getAllUserBuys/u?limit=0",
        &[],
        400,
        "limit must be",
    ),
];

/// To management, with a valid body.
pub(super) const TO_MANAGEMENT: &[Case] = &[
    ("POST /buy", &[JSON], 404, "Not Found"),
    ("POST /purchases/", &[JSON], 404, "Not Found"),
    ("POST /purchases/u1", &[JSON], 405, "Method Not Allowed"),
    ("POST /buyList/joe", &[JSON], 405, "Method Not Allowed"),
    (
        "POST /purchases",
        &[("content-type", b"text/plain")],
        415,
        "application/json",
    ),
    (
        "POST /purchases",
        &[JSON, ("idempotency-key", b"with space")],
        400,
        "Idempotency-Key must be one key",
    ),
    (
        "POST /purchases",
        &[JSON, ("content-encoding", b"gzip")],
        415,
        "Content-Encoding",
    ),
    ("GET /purchases?limit=0", &[], 400, "limit must be"),
    ("GET /purchases/%20", &[], 400, "userid must not be blank"),
    ("GET /purchases/%FF", &[], 400, "userid must be UTF-8 text"),
    ("GET /buyList/%20", &[], 400, "username must not be blank"),
    (
        "GET /api/v1/purchases/%20",
        &[],
        422,
        "userid must not be blank",
    ),
    ("GET /api/v1/purchases/u?limit=0", &[], 422, "limit must be"),
];

/// The request of a case.
pub(super) fn request(case: &Case, body: &'static str) -> Request<Body> {
    let (method, uri) = case.0.split_once(' ').unwrap();
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(uri);
    for (name, value) in case.1 {
        request = request.header(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request
        .body(if case.1.is_empty() {
            Body::empty()
        } else {
            body.into()
        })
        .unwrap()
}

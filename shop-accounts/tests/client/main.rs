//! The calls of users and of orders over HTTP: requests, responses and failures.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod calls;
mod hostile;
#[path = "../../../shop-client/tests/wire/hostile_server.rs"]
#[expect(dead_code, reason = "some of it is for other tests")]
mod hostile_server;
mod over_http;
#[path = "../../../shop-client/tests/wire/shop.rs"]
#[expect(dead_code, reason = "most of it is for other tests")]
mod shop;

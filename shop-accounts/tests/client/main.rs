//! The calls of users and of orders over HTTP: requests and responses. The tests of `shop-client` have the failures of
//! the network, which are the same for all calls.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod calls;
#[path = "../../../shop-client/tests/wire/outcomes.rs"]
mod outcomes;
mod over_http;
#[path = "../../../shop-client/tests/wire/shop.rs"]
#[expect(dead_code, reason = "most of it is for other tests")]
mod shop;

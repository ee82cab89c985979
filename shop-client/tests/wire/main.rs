//! The client over HTTP: requests, responses and failures.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod batches;
mod check;
mod correlation;
mod dead_letters;
mod events;
mod export;
mod health;
mod hostile;
mod hostile_server;
mod many;
mod newcomer;
mod options;
mod proxy;
mod reading;
mod refunds;
mod request;
mod retries;
mod runtime;
mod shop;
mod tokens;

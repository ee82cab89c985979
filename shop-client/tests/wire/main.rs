//! The client over HTTP: requests, responses and failures.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod batches;
mod correlation;
mod events;
mod export;
mod health;
mod hostile;
mod losses;
mod many;
mod options;
mod outcomes;
mod prelude;
mod reading;
mod request;
mod responses;
mod runtime;
mod shop;
mod tokens;
mod unknown_members;

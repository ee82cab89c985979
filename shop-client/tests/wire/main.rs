//! The client on the wire: what it sends, what it makes of the answers, and what it survives.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod accounts;
mod correlation;
mod hostile;
mod many;
mod proxy;
mod reading;
mod repeating;
mod shop;
mod tokens;

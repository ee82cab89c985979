//! Users and orders: in one or two processes, with kills and replays.

pub(crate) mod backends;
mod calls;
mod failpoints;
mod faults;
mod kills;
pub(crate) mod ledger;

use serde_json::Value;

use crate::process::{Process, exchange, plain};

/// Posts this body.
pub(crate) async fn post(process: &Process, path: &str, body: &str) -> (u16, Value) {
    // The documented calls have this superfluous header.
    let request = plain()
        .post(process.path(path))
        .header("content", "application/json");
    let request = request
        .header("content-type", "application/json")
        .body(body.to_owned());
    exchange(request).await
}

//! Users and orders: in one or two processes, with kills and replays.

pub(crate) mod backends;
mod calls;
mod failpoints;
mod faults;
mod kills;
pub(crate) mod ledger;

use serde_json::Value;

use crate::process::{Process, plain};

/// Posts this body.
pub(crate) async fn post(process: &Process, path: &str, body: &str) -> (u16, Value) {
    // The documented calls have this superfluous header.
    let request = plain()
        .post(process.path(path))
        .header("content", "application/json");
    let request = request
        .header("content-type", "application/json")
        .body(body.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

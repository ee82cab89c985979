//! Users and orders: behind facing, and with kills and replays.

pub(crate) mod backends;
mod calls;
mod kills;
pub(crate) mod ledger;

use crate::prelude::*;

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

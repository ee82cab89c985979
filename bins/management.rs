//! The service behind facing, which consumes purchases from the log, stores them and lists them.
//!
//! [`run()`] reads the settings, and executes the command of an operator, if there is one. Without a
//! command, it opens the log and the store, runs ingest between them, and serves their HTTP API.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(ServiceKind::Management).await
}

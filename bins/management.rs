//! The service behind facing: consumes purchases from the log, stores them and lists them.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

#[tokio::main]
async fn main() -> ExitCode {
    run::service(ServiceKind::Management).await
}

//! The service behind facing: consumes purchases from the log, stores them, answers listings.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

#[tokio::main]
async fn main() -> ExitCode {
    run::service(ServiceKind::Management).await
}

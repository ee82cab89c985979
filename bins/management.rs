//! The service behind facing, which consumes purchases from the log, stores them and lists them.
//!
//! This binary also has the commands of operators. The library of this package has all of its
//! parts.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

#[tokio::main]
async fn main() -> ExitCode {
    run::service(ServiceKind::Management).await
}

//! The service that customers meet: takes purchases, answers listings. Alone, it is the whole system.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

/// Requests allocate on one thread what is freed on another, for which the system's takes locks: a quarter of a request's
/// processor time. Management does not have it: it would take more memory, and ingest no faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run::service(ServiceKind::Facing).await
}

//! The customer-facing service: accepts purchases and lists them. It can run alone, as the whole system.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

/// Requests allocate on one thread and free on another. The system's allocator takes locks for that: a quarter of a
/// request's processor time. In management it would use more memory without a faster ingest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run::service(ServiceKind::Facing).await
}

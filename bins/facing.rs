//! The customer-facing service, which accepts purchases and lists them.
//!
//! This service can run alone, as the whole system. The library of this package has all of its
//! parts.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

/// The allocator of this service.
///
/// Requests allocate memory on one thread, and free the memory on another. The allocator of the
/// system takes locks for that, which cost a quarter of the processor time of a request. Management
/// does not have this allocator, because there it uses more memory, and ingest is not faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run::service(ServiceKind::Facing).await
}

//! The customer-facing service, which accepts purchases and lists them.
//!
//! This service can run alone, as the whole system. [`run()`] reads the settings, opens the log and
//! the store, and serves their HTTP API: purchases are published to the log. If the settings say so,
//! it also runs ingest.

use std::process::ExitCode;

use shop_bins::{ServiceKind, run};

/// The allocator of this service.
///
/// Requests allocate memory on one thread, and free the memory on another. The allocator of the
/// system takes locks for that, which cost a quarter of the processor time of a request. Management
/// does not use this allocator, because it needs more memory there, and ingest is not faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run(ServiceKind::Facing).await
}

//! The customer-facing service, which accepts purchases and lists them.
//!
//! This service can run alone, as the whole system. [`run()`] reads the settings, opens the ports with
//! [`open_ports`], and serves their HTTP API. If the settings say so, it also runs ingest.

use std::process::ExitCode;

use shop_bins::{Backends, Ports, PurchasePorts, Result, ServiceKind, Settings, run};

/// The allocator of this service.
///
/// Requests allocate memory on one thread, and free the memory on another. The allocator of the
/// system takes locks for that, which cost a quarter of the processor time of a request. Management
/// does not use this allocator, because it needs more memory there, and ingest is not faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    run(ServiceKind::Facing, open_ports).await
}

/// Opens the log and the store, and decides what facing does with them.
async fn open_ports(settings: &Settings) -> Result<Ports> {
    let backends = Backends::new(settings);
    let mut ports = Ports::default();

    if settings.serves_purchases() {
        // Kafka, or the embedded log. Purchases are published to it.
        let log = backends.log().await?;

        // MongoDB, PostgreSQL, or the embedded store. If management stores the purchases, they are
        // listed by management instead.
        let mut store = None;
        if settings.needs_store() {
            store = Some(backends.store(&log).await?);
        }
        ports.purchases = Some(PurchasePorts::open(settings, log.sink(), log, store).await?);
    }

    backends.add_users_and_orders(&mut ports).await?;
    Ok(ports)
}

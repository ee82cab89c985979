//! The service behind facing, which consumes purchases from the log, stores them and lists them.
//!
//! [`run()`] reads the settings. It executes the command of an operator, if there is one; otherwise it
//! opens the ports with [`open_ports`], runs ingest between them, and serves their HTTP API.

use std::process::ExitCode;

use shop_bins::{Backends, Ports, PurchasePorts, Result, ServiceKind, Settings, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(ServiceKind::Management, open_ports).await
}

/// Opens the log and the store, and decides what management does with them.
async fn open_ports(settings: &Settings) -> Result<Ports> {
    let backends = Backends::new(settings);
    let mut ports = Ports::default();

    if settings.serves_purchases() {
        // Kafka, or the embedded log.
        let log = backends.log().await?;
        // MongoDB, PostgreSQL, or the embedded store.
        let store = backends.store(&log).await?;

        // Ingest stores what facing published to the log. Purchases that management receives
        // itself, such as from an import, are written directly into the store, past the log.
        let sink = store.sink();
        ports.purchases = Some(PurchasePorts::open(settings, sink, log, Some(store)).await?);
    }

    backends.add_users_and_orders(&mut ports).await?;
    ports.serve_dead_letters();
    Ok(ports)
}

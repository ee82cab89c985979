//! A service for the examples: yours has an address, such as `http://localhost:3000`.

use std::sync::Arc;

use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_http::{Facing, HttpOptions, facing, serve};

/// The address of a facing in this process, on a log and a store in memory.
///
/// # Errors
/// When it cannot listen.
pub async fn service_in_memory() -> std::io::Result<String> {
    let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    let (source, letters) = (Arc::new(log.source("group")), Arc::new(log.dead_letters()));
    let ingest = Ingest::new(source, Arc::new(store.clone()), letters, IngestOptions::default());
    tokio::spawn(ingest.run(std::future::pending()));
    let options = HttpOptions::default();
    let router = facing(Facing::new(Arc::new(log.sink()), Arc::new(store)), options.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, router, &options, std::future::pending()));
    Ok(format!("http://{address}"))
}

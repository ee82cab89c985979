//! Services for the examples. Your own have addresses such as `http://localhost:3000`.

use std::io::Error;
use std::sync::Arc;
use std::time::Duration;

use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::outbox::{Outbox, Relay, RelayOptions};
use shop_core::Backend;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::RecordStore;
use shop_core::record::Record;
use shop_http::{HttpOptions, Parts, ServiceKind, router, serve};
use shop_store::embedded::EmbeddedStoreOptions;
use tokio::net::TcpListener;

/// The parts of a facing on an in-memory log and store, with a running ingest between them.
pub fn facing_in_memory() -> Parts {
    let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    let source = Arc::new(log.source("group"));
    let ingest = Ingest::new(
        source,
        Arc::new(store.clone()),
        Arc::new(log.clone()),
        IngestOptions::default(),
    );
    let mut purchases = Backend::new(Arc::new(log.sink()), Arc::new(store));
    purchases.ingest = Some(ingest.monitor());
    tokio::spawn(ingest.run(std::future::pending()));
    Parts::new(ServiceKind::Facing, purchases)
}

/// The address of a facing in this process, with an in-memory log and store.
///
/// # Errors
/// When it cannot listen.
pub async fn service_in_memory() -> std::io::Result<String> {
    let options = HttpOptions::default();
    let router = router(facing_in_memory(), options.clone());
    let (listener, address) = bound().await?;
    tokio::spawn(serve(listener, router, &options, std::future::pending()));
    Ok(address)
}

/// The addresses of a service of users and a service of orders in this process, with files in a temporary folder, connected
/// by events only.
///
/// # Errors
/// When they cannot listen, or the files cannot be made.
pub async fn users_and_orders() -> std::io::Result<(String, String)> {
    let folder = tempfile::tempdir()?.keep();
    let users = EmbeddedUsers::open(&folder, EmbeddedStoreOptions::default()).await;
    let orders = EmbeddedOrders::open(&folder, EmbeddedStoreOptions::default()).await;
    let (users, orders) = (users.map_err(Error::other)?, orders.map_err(Error::other)?);
    spawn_relay(users.clone(), Arc::new(orders.clone()));
    spawn_relay(orders.clone(), Arc::new(users.clone()));
    let service = || Parts::new(ServiceKind::Management, None);
    let users = Accounts {
        users: Some(UsersRole::new(Arc::new(users))),
        ..Accounts::default()
    };
    let orders = Accounts {
        orders: Some(OrdersRole::new(Arc::new(orders))),
        // An order waits this long for the event of its user.
        unknown_user_wait: Duration::from_secs(1),
        ..Accounts::default()
    };
    let (mut of_users, mut of_orders) = (service(), service());
    of_users.roles.push(Arc::new(users));
    of_orders.roles.push(Arc::new(orders));
    Ok((managed(of_users).await?, managed(of_orders).await?))
}

async fn managed(parts: Parts) -> std::io::Result<String> {
    let options = HttpOptions::default();
    let (listener, address) = bound().await?;
    tokio::spawn(serve(
        listener,
        router(parts, options.clone()),
        &options,
        std::future::pending(),
    ));
    Ok(address)
}

/// Relays the events of `outbox` to `listener` over a log.
fn spawn_relay<R: Record>(outbox: impl Outbox, listener: Arc<dyn RecordStore<R>>) {
    let log = InMemoryLog::default();
    let source = Arc::new(log.source("group"));
    let log = Arc::new(log);
    let relay = Relay::new(
        Arc::new(outbox),
        Arc::clone(&log) as _,
        RelayOptions::default(),
    );
    tokio::spawn(relay.run(std::future::pending()));
    let ingest = Ingest::new(source, listener, log, IngestOptions::default());
    tokio::spawn(ingest.run(std::future::pending()));
}

async fn bound() -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, format!("http://{address}")))
}

/// Compiles the code of the README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Compiles the code of `docs/embedding.md` with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;

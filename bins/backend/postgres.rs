//! The backend of stores in PostgreSQL.

use std::sync::Arc;

use shop_accounts::postgres::{PostgresOrders, PostgresUsers};
use shop_core::ports::PurchaseQuery as _;
#[cfg(feature = "compat")]
use shop_core::ports::UnreadableEntry;
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};

use super::inspection::InspectedStore;
use super::{Backends, OpenPort, OrderBackend, UserBackend};
#[cfg(feature = "compat")]
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "SHOP_POSTGRES_URL (or DATABASE_URL)";

/// Converts the error of a database that cannot be used.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about(ABOUT)(error)
}

/// Opens the store of the purchases in the database of `options`.
///
/// # Errors
/// The errors of PostgreSQL, and of [`InspectedStore::accept`].
pub(super) async fn open(
    backends: &Backends<'_>,
    options: PostgresStoreOptions,
) -> Result<OpenPort<PostgresStore>> {
    let settings = backends.settings;
    let store = PostgresStore::open(options.create_schema(settings.serves()))
        .await
        .map_err(unusable)?;
    // A command fails at once if the server is unavailable.
    if settings.command.is_some() {
        store.check_reads().await.map_err(unusable)?;
    }
    let description = inspected_store(store.name());
    let store_to_inspect = store.clone();
    let inspect = move || {
        let store = store_to_inspect.clone();
        async move { store.inspect().await }
    };
    let inspection = description.accept(backends, inspect).await?;
    Ok(OpenPort::inspected(store, description.name, inspection))
}

/// Returns the description of the store `name` for its inspection.
fn inspected_store(name: impl std::fmt::Display) -> InspectedStore {
    InspectedStore {
        setting: ABOUT,
        name: format!("PostgreSQL, {name}"),
    }
}

/// Opens the store of the users.
///
/// # Errors
/// The errors of PostgreSQL, and of [`InspectedStore::accept`].
pub(super) async fn open_users(
    backends: &Backends<'_>,
    options: PostgresStoreOptions,
) -> Result<OpenPort<Arc<dyn UserBackend>>> {
    let users = PostgresUsers::open(options.create_schema(backends.settings.serves()))
        .await
        .map_err(unusable)?;
    let description = inspected_store(users.name());
    let users_to_inspect = users.clone();
    let inspect = move || {
        let users = users_to_inspect.clone();
        async move { users.inspect().await }
    };
    let inspection = description.accept(backends, inspect).await?;
    Ok(OpenPort::inspected(
        Arc::new(users),
        description.name,
        inspection,
    ))
}

/// Opens the store of the orders.
///
/// # Errors
/// The errors of PostgreSQL, and of [`InspectedStore::accept`].
pub(super) async fn open_orders(
    backends: &Backends<'_>,
    options: PostgresStoreOptions,
) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
    let orders = PostgresOrders::open(options.create_schema(backends.settings.serves()))
        .await
        .map_err(unusable)?;
    let description = inspected_store(orders.name());
    let orders_to_inspect = orders.clone();
    let inspect = move || {
        let orders = orders_to_inspect.clone();
        async move { orders.inspect().await }
    };
    let inspection = description.accept(backends, inspect).await?;
    Ok(OpenPort::inspected(
        Arc::new(orders),
        description.name,
        inspection,
    ))
}

/// Reads all rows of the users or of the orders. Returns their number, and the rows that cannot be
/// read.
///
/// # Errors
/// The errors of PostgreSQL.
#[cfg(feature = "compat")]
pub(super) async fn read_rows(
    settings: &Settings,
    options: &PostgresStoreOptions,
    role: ProcessRole,
) -> Result<(u64, Vec<UnreadableEntry>)> {
    let options = options.clone().create_schema(settings.serves());
    Ok(match role {
        ProcessRole::Users => PostgresUsers::open(options).await?.read_all().await?,
        // Only users and orders are rows of replaced systems.
        _ => PostgresOrders::open(options).await?.read_all().await?,
    })
}

//! The backend of logs and stores in files of the data folder.
//!
//! The log and the store of the purchases are one file if both are embedded. Users, orders, and the
//! events of each are in separate files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers, vacuum_users};
use shop_store::embedded::{
    self, EmbeddedLog, EmbeddedLogOptions, EmbeddedSink, EmbeddedStore, EmbeddedStoreOptions, FILE,
    check_integrity,
};
use shop_store::{EmbeddedArgs, StoreInspection};

use super::open_port::ABOUT_FILES;
use super::{Backends, ComponentKind, CopiedFile, OpenPort, OrderBackend, TopicSpec, UserBackend};
use crate::settings::{Command, Settings};
use crate::{CliError, Result};

/// Converts the error of a file that cannot be used. The text begins with the setting of the
/// folder.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about(ABOUT_FILES)(error)
}

/// Opens the log of `topic`.
///
/// # Errors
/// The errors of the data folder.
pub(super) async fn open_log(
    backends: &Backends<'_>,
    options: &EmbeddedArgs,
    topic: TopicSpec<'_>,
) -> Result<OpenPort<EmbeddedLog>> {
    let settings = backends.settings;
    let log = EmbeddedLog::open(&settings.data_dir, log_options(settings, options, topic))
        .await
        .map_err(unusable)?;
    backends.close_at_end(log.closed());
    if settings.serves() && settings.ingests && !topic.is_events {
        log.register(topic.group).await.map_err(unusable)?;
    }
    Ok(open_port(settings, log, ComponentKind::Log(topic)))
}

/// Opens the store of the purchases.
///
/// # Errors
/// The errors of the data folder.
pub(super) async fn open_store(backends: &Backends<'_>) -> Result<OpenPort<EmbeddedStore>> {
    let settings = backends.settings;
    let store = EmbeddedStore::open(&settings.data_dir, store_options(settings))
        .await
        .map_err(unusable)?;
    backends.close_at_end(store.closed());
    Ok(open_port(settings, store, ComponentKind::Purchases))
}

/// Opens the store of the purchases that is in the file of `log`.
///
/// # Errors
/// The errors of the data folder.
pub(super) async fn open_store_of(
    backends: &Backends<'_>,
    log: &EmbeddedLog,
) -> Result<OpenPort<EmbeddedStore>> {
    let settings = backends.settings;
    let store = log.store(&store_options(settings)).await;
    let store = store.map_err(unusable)?;
    backends.close_at_end(store.closed());
    Ok(open_port(settings, store, ComponentKind::Purchases))
}

/// Creates a sink that stores each purchase in the transaction that appends it to `log`, the log of
/// `topic`.
///
/// # Errors
/// The errors of the data folder.
pub(super) async fn storing_sink(log: &EmbeddedLog, topic: TopicSpec<'_>) -> Result<EmbeddedSink> {
    log.storing_sink(topic.group).await.map_err(unusable)
}

/// Opens the store of the users.
///
/// # Errors
/// The errors of the data folder.
pub(super) async fn open_users(backends: &Backends<'_>) -> Result<OpenPort<Arc<dyn UserBackend>>> {
    let settings = backends.settings;
    let users = EmbeddedUsers::open(&settings.data_dir, entity_options(settings))
        .await
        .map_err(unusable)?;
    backends.close_at_end(users.closed());
    Ok(open_port(settings, Arc::new(users), ComponentKind::Users))
}

/// Opens the store of the orders.
///
/// # Errors
/// The errors of the data folder.
pub(super) async fn open_orders(
    backends: &Backends<'_>,
) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
    let settings = backends.settings;
    let orders = EmbeddedOrders::open(&settings.data_dir, entity_options(settings))
        .await
        .map_err(unusable)?;
    backends.close_at_end(orders.closed());
    Ok(open_port(settings, Arc::new(orders), ComponentKind::Orders))
}

/// Checks one file. Returns a line for each damage.
///
/// # Errors
/// The errors of the file.
pub(super) async fn find_damage(file: &Path) -> Result<Vec<String>> {
    check_integrity(file).await.map_err(unusable)
}

/// Copies the files in `folder` into the folder `into`. Returns the name and the size of each copy.
///
/// # Errors
/// The errors of the files.
pub(super) async fn backup(folder: &Path, into: &Path) -> Result<Vec<CopiedFile>> {
    copied_files(embedded::backup(folder, into).await)
}

/// Copies the files of the backup `from` into `folder`. Returns the name and the size of each copy.
///
/// # Errors
/// The errors of the files.
pub(super) async fn restore(from: &Path, folder: &Path) -> Result<Vec<CopiedFile>> {
    copied_files(embedded::restore(from, folder).await)
}

/// Rewrites the files of purchases and users in `folder` without their unused parts.
///
/// # Errors
/// The errors of the files.
pub(super) async fn vacuum(folder: &Path) -> Result<()> {
    embedded::vacuum(folder).await.map_err(unusable)?;
    vacuum_users(folder).await.map_err(unusable)
}

/// Returns the file of a component, or `None` for another service.
pub(super) fn file(settings: &Settings, component: ComponentKind<'_>) -> Option<PathBuf> {
    let name = match component {
        ComponentKind::Log(topic) if topic.is_events => {
            EmbeddedLogOptions::for_events(topic.name).file
        }
        ComponentKind::Log(_) | ComponentKind::Purchases => FILE.to_owned(),
        ComponentKind::Users => "users".to_owned(),
        ComponentKind::Orders => "orders".to_owned(),
        ComponentKind::Service(_) => return None,
    };
    Some(settings.data_dir.join(format!("{name}.db")))
}

/// Returns `port` with the name of the file of `component`.
fn open_port<T>(settings: &Settings, port: T, component: ComponentKind<'_>) -> OpenPort<T> {
    // Only another service has no file.
    let file = file(settings, component).unwrap_or_default();
    OpenPort {
        port,
        name: format!("embedded, {}", file.display()),
        is_missing: false,
        inspection: StoreInspection::default(),
    }
}

/// Returns the options of the log of `topic`. Events are retained for ever.
fn log_options(
    settings: &Settings,
    options: &EmbeddedArgs,
    topic: TopicSpec<'_>,
) -> EmbeddedLogOptions {
    let mut log_options = EmbeddedLogOptions::for_events(topic.name);
    if !topic.is_events {
        log_options = options.options().log;
        topic.name.clone_into(&mut log_options.topic);
        if let Some(address) = settings.store.address_for_log() {
            log_options.feeds = address;
        }
    }
    log_options.create = settings.serves();
    log_options
}

/// Returns the options of the store of purchases, which a service creates.
fn store_options(settings: &Settings) -> EmbeddedStoreOptions {
    EmbeddedStoreOptions::default().create(settings.serves())
}

/// Returns the options of the stores of users and of orders. A service creates a missing store, and
/// so does a replay, which may rebuild the store from nothing.
fn entity_options(settings: &Settings) -> EmbeddedStoreOptions {
    let creates = settings.serves() || matches!(settings.command, Some(Command::Replay { .. }));
    EmbeddedStoreOptions::default().create(creates)
}

/// Returns the name and the size of each copied file.
///
/// # Errors
/// The error of the copy.
fn copied_files(files: shop_core::Result<Vec<embedded::CopiedFile>>) -> Result<Vec<CopiedFile>> {
    Ok(files?
        .into_iter()
        .map(|file| (file.name, file.bytes))
        .collect())
}

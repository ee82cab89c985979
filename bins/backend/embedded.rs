//! The backend of logs and stores in files of the data folder.
//!
//! The log and the store of the purchases are one file if both are embedded. Users, orders, and the
//! events of each are in separate files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::embedded::{EmbeddedOrders, EmbeddedUsers, vacuum_users};
use shop_core::ports::{Durability, PurchaseSink};
use shop_store::StoreInspection;
use shop_store::embedded::{
    self, EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions, FILE,
    check_integrity,
};

use super::ComponentKind;
use super::port::{
    Backend, CopiedFile, OpenPort, OrderBackend, PurchasesStore, TopicLog, TopicSpec, UserBackend,
    close_at_exit,
};
use crate::settings::{Command, Settings};
use crate::{CliError, Result};

/// The beginning of the errors of this backend.
const ABOUT: &str = "the data folder (SHOP_DATA_DIR) cannot be used";

/// Converts the error of a file that cannot be used.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about(ABOUT)(error)
}

/// The files of the settings.
pub(super) struct Embedded<'a>(pub(super) &'a Settings);

#[async_trait]
impl Backend for Embedded<'_> {
    async fn log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<TopicLog>> {
        let log = self.open_log(topic).await?;
        if self.0.serves() && self.0.ingests() && !topic.is_events {
            log.register(topic.group).await.map_err(unusable)?;
        }
        let producing_log = log.clone();
        let port = TopicLog::new(topic, log, move || Arc::new(producing_log.sink()), ABOUT);
        Ok(self.open_port(port, ComponentKind::Log(topic)))
    }

    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = EmbeddedStore::open(&self.0.embedded.data_dir, self.store_options())
            .await
            .map_err(unusable)?;
        Ok(self.purchases_port(store))
    }

    async fn log_and_purchases(
        &self,
    ) -> Result<Option<(OpenPort<TopicLog>, OpenPort<PurchasesStore>)>> {
        if !self.0.stores_at_once() {
            return Ok(None);
        }
        let topic = TopicSpec::purchases(self.0);
        let log = self.open_log(topic).await?;
        let store = log.store(&self.store_options()).await.map_err(unusable)?;
        let sink = log.storing_sink(topic.group).await.map_err(unusable)?;
        let sink: Arc<dyn PurchaseSink> = Arc::new(sink);

        let log = TopicLog::new(topic, log, move || Arc::clone(&sink), ABOUT);
        let log = self.open_port(log, ComponentKind::Log(topic));
        Ok(Some((log, self.purchases_port(store))))
    }

    async fn users(&self) -> Result<OpenPort<Arc<dyn UserBackend>>> {
        let users = EmbeddedUsers::open(&self.0.embedded.data_dir, self.entity_options())
            .await
            .map_err(unusable)?;
        close_at_exit(users.closed());
        Ok(self.open_port(Arc::new(users), ComponentKind::Users))
    }

    async fn orders(&self) -> Result<OpenPort<Arc<dyn OrderBackend>>> {
        let orders = EmbeddedOrders::open(&self.0.embedded.data_dir, self.entity_options())
            .await
            .map_err(unusable)?;
        close_at_exit(orders.closed());
        Ok(self.open_port(Arc::new(orders), ComponentKind::Orders))
    }

    async fn damage_of(&self, file: &Path) -> Result<Vec<String>> {
        check_integrity(file).await.map_err(unusable)
    }

    async fn backup(&self, into: &Path) -> Result<Vec<CopiedFile>> {
        copied_files(embedded::backup(&self.0.embedded.data_dir, into).await)
    }

    async fn restore(&self, from: &Path) -> Result<Vec<CopiedFile>> {
        copied_files(embedded::restore(from, &self.0.embedded.data_dir).await)
    }

    async fn vacuum(&self) -> Result<()> {
        let folder = &self.0.embedded.data_dir;
        embedded::vacuum(folder).await.map_err(unusable)?;
        vacuum_users(folder).await.map_err(unusable)
    }

    fn file(&self, component: ComponentKind<'_>) -> Option<PathBuf> {
        let name = match component {
            ComponentKind::Log(topic) => self.log_options(topic).file,
            ComponentKind::Purchases => FILE.to_owned(),
            ComponentKind::Users => "users".to_owned(),
            ComponentKind::Orders => "orders".to_owned(),
            ComponentKind::Service(_) => return None,
        };
        Some(self.0.embedded.data_dir.join(format!("{name}.db")))
    }
}

impl Embedded<'_> {
    /// Opens the log of `topic`.
    ///
    /// # Errors
    /// The errors of the data folder.
    async fn open_log(&self, topic: TopicSpec<'_>) -> Result<EmbeddedLog> {
        let log = EmbeddedLog::open(&self.0.embedded.data_dir, self.log_options(topic))
            .await
            .map_err(unusable)?;
        close_at_exit(log.closed());
        Ok(log)
    }

    /// Returns the port of an opened store of purchases.
    fn purchases_port(&self, store: EmbeddedStore) -> OpenPort<PurchasesStore> {
        close_at_exit(store.closed());
        let port = PurchasesStore {
            store: Arc::new(store),
            durability: Durability::LocalDisk,
            unreadable: None,
        };
        self.open_port(port, ComponentKind::Purchases)
    }

    /// Returns `port` with the name of the file of `component`.
    fn open_port<T>(&self, port: T, component: ComponentKind<'_>) -> OpenPort<T> {
        let file = self.file(component).unwrap_or_default();
        OpenPort {
            port,
            name: format!("embedded, {}", file.display()),
            is_missing: false,
            inspection: StoreInspection::default(),
        }
    }

    /// Returns the options of the log of `topic`. Events are retained for ever.
    fn log_options(&self, topic: TopicSpec<'_>) -> EmbeddedLogOptions {
        let mut options = EmbeddedLogOptions::for_events(topic.name);
        if !topic.is_events {
            options = self.0.embedded.options().log;
            topic.name.clone_into(&mut options.topic);
            options.feeds = self.0.fed_store().unwrap_or(options.feeds);
        }
        options.create = self.0.serves();
        options
    }

    /// Returns the options of the store of purchases, which a service creates.
    fn store_options(&self) -> EmbeddedStoreOptions {
        EmbeddedStoreOptions::default().create(self.0.serves())
    }

    /// Returns the options of the stores of users and of orders. A replay may rebuild a missing
    /// store from nothing.
    fn entity_options(&self) -> EmbeddedStoreOptions {
        let creates = self.0.serves() || matches!(self.0.command, Some(Command::Replay { .. }));
        EmbeddedStoreOptions::default().create(creates)
    }
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

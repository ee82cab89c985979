//! Logs and stores in files of the data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use shop_core::entity::EntityStore;
use shop_core::orders::Order;
use shop_core::ports::{Durability, PurchaseSink};
use shop_core::users::User;
use shop_store::embedded::{
    self, EmbeddedLog, EmbeddedLogOptions, EmbeddedOrders, EmbeddedStore, EmbeddedStoreOptions,
    EmbeddedUsers, FILE, check_integrity,
};

use super::ComponentKind;
use super::port::{
    Backend, CopiedFile, EntityPorts, OpenPort, PurchasesStore, Sinks, TopicLog, TopicSpec,
    UserBackend, note_opened,
};
use crate::settings::{Command, Settings};
use crate::{CliError, Result};

const ABOUT: &str = "the data folder (SHOP_DATA_DIR) cannot be used";

/// The fault of a file that cannot be used.
fn unusable(error: shop_core::Error) -> CliError {
    CliError::about(ABOUT)(error)
}

pub(super) struct Embedded<'a>(pub(super) &'a Settings);

#[async_trait]
impl Backend for Embedded<'_> {
    async fn log(&self, topic: TopicSpec<'_>) -> Result<OpenPort<TopicLog>> {
        let log = self.open_log(topic).await?;
        if self.0.serves() && self.0.ingests() && !topic.is_events {
            log.register(topic.group).await.map_err(unusable)?;
        }
        let sinks = log.clone();
        Ok(self.topic_log(topic, log, Arc::new(move || Arc::new(sinks.sink()))))
    }

    async fn purchases(&self) -> Result<OpenPort<PurchasesStore>> {
        let store = EmbeddedStore::open(&self.0.data_dir, self.store_options())
            .await
            .map_err(unusable)?;
        Ok(self.purchases_store(store))
    }

    async fn log_and_purchases(
        &self,
        topic: TopicSpec<'_>,
    ) -> Result<Option<(OpenPort<TopicLog>, OpenPort<PurchasesStore>)>> {
        if !self.0.stores_at_once() {
            return Ok(None);
        }
        let log = self.open_log(topic).await?;
        let store = log.store(&self.store_options()).await.map_err(unusable)?;
        let group = &self.0.purchases_group_id;
        let sink = log.storing_sink(group).await.map_err(unusable)?;
        let sink: Arc<dyn PurchaseSink> = Arc::new(sink);
        let log = self.topic_log(topic, log, Arc::new(move || Arc::clone(&sink)));
        Ok(Some((log, self.purchases_store(store))))
    }

    async fn users(&self) -> Result<OpenPort<EntityPorts<dyn UserBackend, Order>>> {
        let store = EmbeddedUsers::open(&self.0.data_dir, self.entity_options())
            .await
            .map_err(unusable)?;
        note_opened(store.closed());
        Ok(self.opened(EntityPorts::new(store, |store| store), ComponentKind::Users))
    }

    async fn orders(&self) -> Result<OpenPort<EntityPorts<dyn EntityStore<Order>, User>>> {
        let store = EmbeddedOrders::open(&self.0.data_dir, self.entity_options())
            .await
            .map_err(unusable)?;
        note_opened(store.closed());
        Ok(self.opened(
            EntityPorts::new(store, |store| store),
            ComponentKind::Orders,
        ))
    }

    async fn damage_of(&self, file: &Path) -> Result<Vec<String>> {
        check_integrity(file).await.map_err(unusable)
    }

    async fn backup(&self, into: &Path) -> Result<Vec<CopiedFile>> {
        copied(embedded::backup(&self.0.data_dir, into).await)
    }

    async fn restore(&self, from: &Path) -> Result<Vec<CopiedFile>> {
        copied(embedded::restore(from, &self.0.data_dir).await)
    }

    async fn vacuum(&self) -> Result<()> {
        embedded::vacuum(&self.0.data_dir).await.map_err(unusable)
    }

    fn file(&self, part: ComponentKind<'_>) -> Option<PathBuf> {
        let name = match part {
            ComponentKind::Log(topic) => self.log_options(topic).file,
            ComponentKind::Purchases => FILE.to_owned(),
            ComponentKind::Users => "users".to_owned(),
            ComponentKind::Orders => "orders".to_owned(),
            ComponentKind::Service(_) => return None,
        };
        Some(self.0.data_dir.join(format!("{name}.db")))
    }
}

impl Embedded<'_> {
    async fn open_log(&self, topic: TopicSpec<'_>) -> Result<EmbeddedLog> {
        let log = EmbeddedLog::open(&self.0.data_dir, self.log_options(topic)).await;
        log.inspect(|log| note_opened(log.closed()))
            .map_err(unusable)
    }

    fn topic_log(&self, topic: TopicSpec<'_>, log: EmbeddedLog, sink: Sinks) -> OpenPort<TopicLog> {
        self.opened(
            TopicLog::new(topic, Arc::new(log), sink, ABOUT),
            ComponentKind::Log(topic),
        )
    }

    fn purchases_store(&self, store: EmbeddedStore) -> OpenPort<PurchasesStore> {
        note_opened(store.closed());
        let port = PurchasesStore {
            store: Arc::new(store),
            durability: Durability::LocalDisk,
            unreadable: None,
        };
        self.opened(port, ComponentKind::Purchases)
    }

    fn opened<T>(&self, port: T, part: ComponentKind<'_>) -> OpenPort<T> {
        let file = self.file(part).unwrap_or_default();
        OpenPort {
            port,
            name: format!("embedded, {}", file.display()),
            to_be_made: false,
        }
    }

    fn log_options(&self, topic: TopicSpec<'_>) -> EmbeddedLogOptions {
        let mut options = EmbeddedLogOptions::for_events(topic.name);
        if !topic.is_events {
            options = EmbeddedLogOptions::default();
            topic.name.clone_into(&mut options.topic);
            options.retention = self.0.log_retention.unwrap_or(options.retention);
            options.max_file_bytes = self.0.log_max_size;
            options.feeds = self.0.fed_store().unwrap_or(options.feeds);
        }
        options.create = self.0.serves();
        options
    }

    fn store_options(&self) -> EmbeddedStoreOptions {
        EmbeddedStoreOptions::default().create(self.0.serves())
    }

    /// The options of users and of orders. A replay may rebuild a missing store from nothing.
    fn entity_options(&self) -> EmbeddedStoreOptions {
        let creates = self.0.serves() || matches!(self.0.command, Some(Command::Replay { .. }));
        self.store_options().create(creates)
    }
}

fn copied(files: shop_core::Result<Vec<embedded::CopiedFile>>) -> Result<Vec<CopiedFile>> {
    Ok(files?
        .into_iter()
        .map(|file| (file.name, file.bytes))
        .collect())
}

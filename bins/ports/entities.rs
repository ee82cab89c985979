//! The ports and background tasks of users and orders.
//!
//! A process stores users and orders itself, or calls the service that does. For rows that it
//! stores, it runs a relay, which publishes the events of the rows, and, if the settings enable it,
//! an ingest, which applies the events of the other role to the rows.

use std::sync::Arc;

use shop_accounts::http::EntityRole;
use shop_accounts::outbox::{Outbox, Relay, RelayOptions};
use shop_core::ingest::Ingest;
use shop_core::log::LogWriter;
use shop_core::operations::Operations;
use shop_core::ports::RecordStore;
use shop_core::record::Record;
use shop_http::{Metrics, PartReports};

use super::{Background, reader};
use crate::Result;
use crate::backend::TopicLog;
use crate::settings::Settings;

/// The role users or the role orders. It consumes the events `R` of the other role.
pub(super) struct EntityRuntime<S: ?Sized, R: Record> {
    pub(super) role: EntityRole<Arc<S>>,
    /// The ports of the rows; `None` when another process stores the rows.
    local: Option<LocalRows<R>>,
}

/// The ports of rows that this process stores.
pub(super) struct LocalRows<R: Record> {
    pub(super) outbox: Arc<dyn Outbox>,
    /// The log to which the events of the rows are published.
    pub(super) writer: Arc<dyn LogWriter>,
    /// The store that applies the events of the other role.
    pub(super) projection: Arc<dyn RecordStore<R>>,
    /// The log of the events of the other role.
    pub(super) subscribed: TopicLog,
}

impl<S: ?Sized, R: Record> EntityRuntime<S, R> {
    /// Creates the role of the rows in `store`, with the ports of the rows if this process stores
    /// them.
    pub(super) const fn new(store: Arc<S>, local: Option<LocalRows<R>>) -> Self {
        Self {
            role: EntityRole::new(store),
            local,
        }
    }

    /// Returns the operations on the log of the events that the rows' ingest consumes, if this
    /// process stores the rows.
    pub(super) fn operations(&self) -> Option<Operations> {
        let local = self.local.as_ref()?;
        Some(local.subscribed.operations(None))
    }

    /// Starts the relay of the rows' events, if this process stores the rows, and the ingest of the
    /// other role's events, if the settings enable it. `part` is the name of the role in `/health`.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    pub(super) fn start(
        &mut self,
        part: &'static str,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        let Some(local) = &self.local else {
            return Ok(());
        };
        let subscribed = &local.subscribed;
        self.role.is_local = settings.postgres.postgres_url.is_none();
        self.role.subscribed_topic = Some(subscribed.topic.clone());

        let relay = Relay::new(
            Arc::clone(&local.outbox),
            Arc::clone(&local.writer),
            RelayOptions::default(),
        );
        self.role.relay = Some(background.run_relay(relay));

        if settings.ingests() {
            let ingest = Ingest::new(
                subscribed.source()?,
                Arc::clone(&local.projection),
                subscribed.log.dead_letters(),
                settings.ingest_options(),
            );
            self.role.ingest = Some(background.run_ingest(ingest, subscribed, metrics, None));
        }
        let operations = subscribed.operations(None);
        background.run_until_shutdown(reader::watch_topic(
            operations,
            self.role.ingest.clone(),
            part,
            reports,
        ));
        Ok(())
    }
}

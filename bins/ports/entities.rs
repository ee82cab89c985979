//! The ports and background tasks of users and orders.
//!
//! A process stores users and orders itself, or calls the service that does. For rows that it
//! stores, it runs a relay, which publishes the events of the rows, and, if the settings enable it,
//! an ingest, which applies the events of the other role to the rows.

use std::sync::Arc;

use shop_core::ingest::Ingest;
use shop_core::log::LogWriter;
use shop_core::outbox::{Outbox, Relay, RelayOptions};
use shop_core::ports::RecordStore;
use shop_core::record::Record;
use shop_http::{DeadLetterLog, EntityRole, Metrics};

use super::{Background, Ports, dead_letters};
use crate::Result;
use crate::backend::{self, Backend, TopicLog, TopicSpec, client};
use crate::settings::Settings;

/// The role users or the role orders. It consumes the events `R` of the other role.
pub(super) struct EntityRuntime<S: ?Sized, R: Record> {
    pub(super) role: EntityRole<Arc<S>>,
    /// The ports of the rows; `None` when another process stores the rows.
    local: Option<LocalRows<R>>,
}

/// The ports of rows that this process stores.
struct LocalRows<R: Record> {
    outbox: Arc<dyn Outbox>,
    /// The log to which the events of the rows are published.
    writer: Arc<dyn LogWriter>,
    /// The store that applies the events of the other role.
    projection: Arc<dyn RecordStore<R>>,
    /// The log of the events of the other role.
    subscribed: TopicLog,
}

impl<S: ?Sized, R: Record> EntityRuntime<S, R> {
    /// Creates the role of the rows in `store`, with the ports of the rows if this process stores
    /// them.
    const fn new(store: Arc<S>, local: Option<LocalRows<R>>) -> Self {
        Self {
            role: EntityRole::new(store),
            local,
        }
    }

    /// Returns the dead letters of the events that the rows' ingest consumes, if this process
    /// stores the rows.
    pub(super) fn dead_letters(&self) -> Option<DeadLetterLog> {
        let local = self.local.as_ref()?;
        Some(dead_letters(&local.subscribed))
    }

    /// Starts the relay of the rows' events, if this process stores the rows, and the ingest of the
    /// other role's events, if the settings enable it.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    pub(super) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<()> {
        let Some(local) = &self.local else {
            return Ok(());
        };
        let subscribed = &local.subscribed;
        self.role.is_local = settings.postgres_url.is_none();
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
        Ok(())
    }
}

impl Ports {
    /// Opens the ports of users and of orders that the settings select. Does not read from the log
    /// yet.
    ///
    /// # Errors
    /// The error of the first port that cannot be opened.
    pub(super) async fn open_entities(
        &mut self,
        settings: &Settings,
        logs: &dyn Backend,
    ) -> Result<()> {
        if let Some(url) = &settings.users_url {
            let users = client(url, settings).await?.users();
            self.users = Some(EntityRuntime::new(Arc::new(users), None));
        }
        if let Some(url) = &settings.orders_url {
            let orders = client(url, settings).await?.orders();
            self.orders = Some(EntityRuntime::new(Arc::new(orders), None));
        }

        let (keeps_users, keeps_orders) = settings.keeps();
        if !keeps_users && !keeps_orders {
            return Ok(());
        }
        let user_events = logs.log(TopicSpec::users(settings)).await?.port;
        let order_events = logs.log(TopicSpec::orders(settings)).await?.port;

        if keeps_users {
            let users = backend::for_entities(settings).users().await?.port;
            users.set_event_log(user_events.log.admin());
            let local = LocalRows {
                outbox: Arc::clone(&users) as _,
                writer: user_events.log.writer(),
                projection: Arc::clone(&users) as _,
                subscribed: order_events.clone(),
            };
            self.users = Some(EntityRuntime::new(users, Some(local)));
        }
        if keeps_orders {
            let orders = backend::for_entities(settings).orders().await?.port;
            orders.set_event_log(order_events.log.admin());
            let local = LocalRows {
                outbox: Arc::clone(&orders) as _,
                writer: order_events.log.writer(),
                projection: Arc::clone(&orders) as _,
                subscribed: user_events,
            };
            self.orders = Some(EntityRuntime::new(orders, Some(local)));
        }
        Ok(())
    }
}

//! The ports and background tasks of users and orders, by the settings.

use std::sync::Arc;

use shop_core::entity::EntityStore;
use shop_core::ingest::Ingest;
use shop_core::log::LogWriter;
use shop_core::orders::Order;
use shop_core::outbox::{Relay, RelayOptions};
use shop_core::record::Record;
use shop_core::users::{User, UserStore};
use shop_http::{DeadLetterLog, EntityRole, Metrics};

use super::{Background, dead_letters};
use crate::Result;
use crate::backend::{self, Backend, EntityPorts, TopicLog, TopicSpec, client};
use crate::settings::Settings;

/// The ports of rows, the writer of their events, and the log that their projection consumes.
type Local<S, R> = (EntityPorts<S, R>, Arc<dyn LogWriter>, TopicLog);

/// Users or orders. They consume the events `R` of the other.
pub(super) struct EntityRuntime<S: ?Sized, R: Record> {
    pub(super) role: EntityRole<Arc<S>>,
    /// `None` when another process stores them.
    local: Option<Local<S, R>>,
}

impl<S: ?Sized, R: Record> EntityRuntime<S, R> {
    /// Rows that another process stores.
    const fn remote(store: Arc<S>) -> Self {
        Self {
            role: EntityRole::new(store),
            local: None,
        }
    }

    /// Rows that this process stores. It publishes their events to `own`, and consumes those in `subscribed`.
    fn local(rows: EntityPorts<S, R>, own: &TopicLog, subscribed: &TopicLog) -> Self {
        let mut role = EntityRole::new(Arc::clone(&rows.store));
        role.subscribed_topic = Some(subscribed.topic.clone());
        Self {
            role,
            local: Some((rows, own.log.writer(), subscribed.clone())),
        }
    }

    /// The dead letters of the events that these rows' projection consumes, if this process stores them.
    pub(super) fn dead_letters(&self) -> Option<DeadLetterLog> {
        self.local
            .as_ref()
            .map(|(.., subscribed)| dead_letters(subscribed, R::TYPE))
    }

    /// Starts the relay of the rows' events, if this process stores them, and the ingest of the other's events, if the
    /// settings enable it.
    pub(super) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<()> {
        let Some((rows, writer, subscribed)) = &self.local else {
            return Ok(());
        };
        self.role.is_local = settings.postgres_url.is_none();
        let relay = Relay::new(
            Arc::clone(&rows.outbox),
            Arc::clone(writer),
            RelayOptions::default(),
        );
        self.role.relay = Some(background.relay(relay));
        if settings.ingests() {
            let source = subscribed.source()?;
            let dead_letters = subscribed.log.dead_letters();
            let projection = Arc::clone(&rows.projection);
            let ingest = Ingest::new(source, projection, dead_letters, settings.ingest_options());
            self.role.ingest = Some(background.ingest(ingest, subscribed, metrics, None));
        }
        Ok(())
    }
}

/// Users and orders, if they are roles of this process.
type EntityPair = (
    Option<EntityRuntime<dyn UserStore, Order>>,
    Option<EntityRuntime<dyn EntityStore<Order>, User>>,
);

/// Opens the ports that the settings select. Does not read from the log yet.
pub(super) async fn open(settings: &Settings, logs: &dyn Backend) -> Result<EntityPair> {
    let (mut users, mut orders): EntityPair = (None, None);
    if let Some(url) = &settings.users_url {
        users = Some(EntityRuntime::remote(Arc::new(
            client(url, settings).await?.users(),
        )));
    }
    if let Some(url) = &settings.orders_url {
        orders = Some(EntityRuntime::remote(Arc::new(
            client(url, settings).await?.orders(),
        )));
    }
    let (keeps_users, keeps_orders) = settings.keeps();
    if !keeps_users && !keeps_orders {
        return Ok((users, orders));
    }
    let user_events = logs.log(TopicSpec::users(settings)).await?.port;
    let order_events = logs.log(TopicSpec::orders(settings)).await?.port;
    if keeps_users {
        let rows = backend::for_entities(settings).users().await?.port;
        let EntityPorts {
            store,
            outbox,
            projection,
        } = rows;
        let rows = EntityPorts {
            store: store as Arc<dyn UserStore>,
            outbox,
            projection,
        };
        rows.store.set_event_log(user_events.log.admin());
        users = Some(EntityRuntime::local(rows, &user_events, &order_events));
    }
    if keeps_orders {
        let rows = backend::for_entities(settings).orders().await?.port;
        rows.store.set_event_log(order_events.log.admin());
        orders = Some(EntityRuntime::local(rows, &order_events, &user_events));
    }
    Ok((users, orders))
}

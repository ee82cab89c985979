//! The users and the orders of a service, and their background tasks.
//!
//! A process stores users and orders itself, or calls the service that does. For rows that it
//! stores, it runs a relay, which publishes the events of the rows, and, if the settings enable it,
//! an ingest, which applies the events of the other role to the rows.

use std::sync::Arc;

use shop_accounts::client::AccountsClient as _;
use shop_accounts::http::{Accounts, EntityRole};
use shop_accounts::orders::Order;
use shop_accounts::outbox::{Relay, RelayOptions};
use shop_accounts::users::User;
use shop_core::Backend;
use shop_core::ingest::Ingest;
use shop_core::operations::Operations;
use shop_core::ports::RecordStore;
use shop_core::record::Record;
use shop_http::{Metrics, PartReports};

use super::{Background, reader};
use crate::Result;
use crate::backend::{Backends, TopicSpec, client, source};
use crate::settings::{EntityLocation, Settings};

/// The rows of a role that this process stores. They consume the events `R` of the other role.
pub(crate) struct LocalRows<R: Record> {
    /// The name of the role in `/health`.
    part: &'static str,
    /// Publishes the events of the rows.
    relay: Relay,
    /// The store that applies the events of the other role.
    projection: Arc<dyn RecordStore<R>>,
    /// The log of the events of the other role.
    subscribed: Backend,
}

/// The users and the orders of a service.
#[derive(Default)]
pub(crate) struct Entities {
    /// The roles that the service serves.
    pub(crate) accounts: Accounts,
    users: Option<LocalRows<Order>>,
    orders: Option<LocalRows<User>>,
}

impl Entities {
    /// Opens the users and the orders that the settings select. Does not read from the log yet.
    ///
    /// # Errors
    /// The error of the first port that cannot be opened.
    pub(crate) async fn open(backends: &Backends<'_>) -> Result<Self> {
        let settings = backends.settings;
        let mut entities = Self::default();
        entities.accounts.unknown_user_wait = settings.order_user_wait();
        if let EntityLocation::Remote(url) = &settings.users {
            let users = client(url, settings).await?.users();
            entities.accounts.users = Some(EntityRole::new(Arc::new(users)));
        }
        if let EntityLocation::Remote(url) = &settings.orders {
            let orders = client(url, settings).await?.orders();
            entities.accounts.orders = Some(EntityRole::new(Arc::new(orders)));
        }

        let stores_users = settings.users == EntityLocation::Stored;
        let stores_orders = settings.orders == EntityLocation::Stored;
        if !stores_users && !stores_orders {
            return Ok(entities);
        }
        let user_events = backends.log(TopicSpec::users(settings)).await?.port;
        let order_events = backends.log(TopicSpec::orders(settings)).await?.port;
        let (user_log, order_log) = (user_events.require_log()?, order_events.require_log()?);

        if stores_users {
            let users = backends.users().await?.port;
            users.set_event_log(Arc::clone(user_log));
            entities.users = Some(LocalRows {
                part: "users",
                relay: Relay::new(
                    Arc::clone(&users) as _,
                    Arc::clone(user_log),
                    RelayOptions::default(),
                ),
                projection: Arc::clone(&users) as _,
                subscribed: order_events.clone(),
            });
            entities.accounts.users = Some(EntityRole::new(users));
        }
        if stores_orders {
            let orders = backends.orders().await?.port;
            orders.set_event_log(Arc::clone(order_log));
            entities.orders = Some(LocalRows {
                part: "orders",
                relay: Relay::new(
                    Arc::clone(&orders) as _,
                    Arc::clone(order_log),
                    RelayOptions::default(),
                ),
                projection: Arc::clone(&orders) as _,
                subscribed: user_events.clone(),
            });
            entities.accounts.orders = Some(EntityRole::new(orders));
        }
        Ok(entities)
    }

    /// Returns the operations on the logs of the events that the rows of this process consume.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operations> {
        let users = self.users.iter().map(|rows| rows.subscribed.clone());
        let orders = self.orders.iter().map(|rows| rows.subscribed.clone());
        users.chain(orders).map(Operations::new)
    }

    /// Starts the tasks of the rows that this process stores.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    pub(crate) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        if let (Some(rows), Some(role)) = (self.users.take(), &mut self.accounts.users) {
            rows.start(role, background, settings, metrics, reports)?;
        }
        if let (Some(rows), Some(role)) = (self.orders.take(), &mut self.accounts.orders) {
            rows.start(role, background, settings, metrics, reports)?;
        }
        Ok(())
    }
}

impl<R: Record> LocalRows<R> {
    /// Starts the relay of the rows' events, and the ingest of the other role's events, if the
    /// settings enable it. Adds both to `role`.
    ///
    /// # Errors
    /// The errors of the log, if it cannot be read.
    fn start<S>(
        self,
        role: &mut EntityRole<S>,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        role.is_local = settings.store.entity_address().is_none();
        role.subscribed_topic = Some(self.subscribed.topic.clone());
        role.relay = Some(background.run_relay(self.relay));

        if settings.ingests {
            let ingest = Ingest::new(
                source(settings, &self.subscribed)?,
                self.projection,
                Arc::clone(self.subscribed.require_log()?),
                settings.ingest_options(),
            );
            // Only the store of purchases has a spot check.
            let no_spot_check = None;
            let monitor =
                background.run_ingest(ingest, &self.subscribed, metrics, no_spot_check)?;
            role.ingest = Some(monitor);
        }
        background.run_until_shutdown(reader::watch_topic(
            Operations::new(self.subscribed),
            role.ingest.clone(),
            self.part,
            reports,
        ));
        Ok(())
    }
}

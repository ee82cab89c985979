//! The users and the orders of a service, and their background tasks.
//!
//! A process stores users and orders itself, or calls the service that does. For the rows that it
//! stores, the process runs a relay, which publishes the events of the rows. If the settings enable
//! ingest, the process also applies the events of the other role to the rows.

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

use super::background::Background;
use super::unread_log;
use crate::Result;
use crate::backend::{Backends, TopicSpec, create_log_source};
use crate::service_client::create_service_client;
use crate::settings::{EntityLocation, Settings};

/// The rows of users or of orders that this process stores. They consume `R`, the events of the
/// other of these two roles.
pub(crate) struct LocalRows<R: Record> {
    /// The name of the role in `/health`: `users` or `orders`.
    part: &'static str,
    /// Publishes the events of the rows.
    relay: Relay,
    /// The store that applies the events of the other role.
    projection: Arc<dyn RecordStore<R>>,
    /// The log of the events of the other role.
    subscribed_log: Backend,
}

/// The users and the orders of a service.
#[derive(Default)]
pub(crate) struct Entities {
    /// The roles that the service serves.
    pub(crate) accounts: Accounts,
    /// The rows of users, which consume the events of orders.
    users: Option<LocalRows<Order>>,
    /// The rows of orders, which consume the events of users.
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
        entities.connect_to_services(settings).await?;

        let stores_users = settings.users == EntityLocation::Stored;
        let stores_orders = settings.orders == EntityLocation::Stored;
        if !stores_users && !stores_orders {
            return Ok(entities);
        }
        // The rows of one role publish to one of these logs, and consume the other.
        let user_events = backends.log(TopicSpec::users(settings)).await?.port;
        let order_events = backends.log(TopicSpec::orders(settings)).await?.port;
        if stores_users {
            entities
                .open_users(backends, &user_events, &order_events)
                .await?;
        }
        if stores_orders {
            entities
                .open_orders(backends, &order_events, &user_events)
                .await?;
        }
        Ok(entities)
    }

    /// Creates the clients of the services that store the users or the orders, if the settings name
    /// any.
    ///
    /// # Errors
    /// The errors of the clients.
    async fn connect_to_services(&mut self, settings: &Settings) -> Result<()> {
        if let EntityLocation::Remote(url) = &settings.users {
            let users = create_service_client(url, settings).await?.users();
            self.accounts.users = Some(EntityRole::new(Arc::new(users)));
        }
        if let EntityLocation::Remote(url) = &settings.orders {
            let orders = create_service_client(url, settings).await?.orders();
            self.accounts.orders = Some(EntityRole::new(Arc::new(orders)));
        }
        Ok(())
    }

    /// Opens the rows of the users. They publish to `user_events`, and consume `order_events`.
    ///
    /// # Errors
    /// The errors of the store, or an error if `user_events` has no log.
    async fn open_users(
        &mut self,
        backends: &Backends<'_>,
        user_events: &Backend,
        order_events: &Backend,
    ) -> Result<()> {
        let event_log = user_events.require_log()?;
        let users = backends.users().await?.port;
        users.set_event_log(Arc::clone(event_log));
        self.users = Some(LocalRows {
            part: "users",
            relay: Relay::new(
                Arc::clone(&users) as _,
                Arc::clone(event_log),
                RelayOptions::default(),
            ),
            projection: Arc::clone(&users) as _,
            subscribed_log: order_events.clone(),
        });
        self.accounts.users = Some(EntityRole::new(users));
        Ok(())
    }

    /// Opens the rows of the orders. They publish to `order_events`, and consume `user_events`.
    ///
    /// # Errors
    /// The errors of the store, or an error if `order_events` has no log.
    async fn open_orders(
        &mut self,
        backends: &Backends<'_>,
        order_events: &Backend,
        user_events: &Backend,
    ) -> Result<()> {
        let event_log = order_events.require_log()?;
        let orders = backends.orders().await?.port;
        orders.set_event_log(Arc::clone(event_log));
        self.orders = Some(LocalRows {
            part: "orders",
            relay: Relay::new(
                Arc::clone(&orders) as _,
                Arc::clone(event_log),
                RelayOptions::default(),
            ),
            projection: Arc::clone(&orders) as _,
            subscribed_log: user_events.clone(),
        });
        self.accounts.orders = Some(EntityRole::new(orders));
        Ok(())
    }

    /// Returns the operations on the logs of the events that the rows of this process consume.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operations> {
        let users = self.users.iter().map(|rows| rows.subscribed_log.clone());
        let orders = self.orders.iter().map(|rows| rows.subscribed_log.clone());
        users.chain(orders).map(Operations::new)
    }

    /// Starts the tasks of the rows that this process stores. Starts nothing at the second call.
    ///
    /// # Errors
    /// The errors of a log of events, if it cannot be read.
    pub(crate) fn start(
        &mut self,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        if let (Some(rows), Some(role)) = (self.users.take(), &mut self.accounts.users) {
            rows.start_tasks(role, background, settings, metrics, reports)?;
        }
        if let (Some(rows), Some(role)) = (self.orders.take(), &mut self.accounts.orders) {
            rows.start_tasks(role, background, settings, metrics, reports)?;
        }
        Ok(())
    }
}

impl<R: Record> LocalRows<R> {
    /// Starts the tasks of these rows in `background`:
    ///
    /// - the relay, which publishes the events of the rows
    /// - if `settings` enable ingest, the ingest of the events of the other role
    /// - a watch of the other role's log, which reports to `reports` if no process reads the log
    ///
    /// Adds the monitors of the relay and of the ingest to `role`.
    ///
    /// # Errors
    /// The errors of the other role's log, if it cannot be read.
    fn start_tasks<S>(
        self,
        role: &mut EntityRole<S>,
        background: &mut Background,
        settings: &Settings,
        metrics: &Metrics,
        reports: &PartReports,
    ) -> Result<()> {
        // A store without an address is a file of this process.
        role.is_local = settings.store.entity_address().is_none();
        role.subscribed_topic = Some(self.subscribed_log.topic.clone());
        role.relay = Some(background.run_relay(self.relay));

        if settings.ingests {
            let ingest = Ingest::new(
                create_log_source(settings, &self.subscribed_log)?,
                self.projection,
                Arc::clone(self.subscribed_log.require_log()?),
                settings.ingest_options(),
            );
            // Only the store of purchases has a spot check.
            let no_spot_check = None;
            let monitor =
                background.run_ingest(ingest, &self.subscribed_log, metrics, no_spot_check)?;
            role.ingest = Some(monitor);
        }
        background.run_until_shutdown(unread_log::watch_topic(
            Operations::new(self.subscribed_log),
            role.ingest.clone(),
            self.part,
            reports,
        ));
        Ok(())
    }
}

//! [`Backends`]: opens the logs and stores of a service.

use std::sync::Arc;

use shop_accounts::client::AccountsClient as _;

use super::Ports;
use super::entities::{EntityRuntime, LocalRows};
use crate::Result;
use crate::backend::{self, Backend, PurchasesStore, TopicLog, TopicSpec, client};
use crate::settings::Settings;

/// The backends of the logs and stores of a service, which its settings select.
///
/// The log is on Kafka, or embedded. The store of purchases is in MongoDB, in PostgreSQL, or
/// embedded; users and orders are in PostgreSQL, or embedded.
pub struct Backends<'a> {
    settings: &'a Settings,
    /// The backend of the log. The logs of all topics share its clients.
    logs: Box<dyn Backend + 'a>,
}

impl<'a> Backends<'a> {
    /// Selects the backends. Opens nothing.
    #[must_use]
    pub fn new(settings: &'a Settings) -> Self {
        // Optimized programs enable no failpoints, even if they are built together with tests.
        #[cfg(all(feature = "failpoints", debug_assertions))]
        shop_core::init_failpoints();
        Self {
            settings,
            logs: backend::for_log(settings),
        }
    }

    /// Opens the log of the purchases.
    ///
    /// If its sink stores a purchase at once, this also opens the store, which is in the same file.
    ///
    /// # Errors
    /// The errors of the backend.
    pub async fn log(&self) -> Result<TopicLog> {
        if let Some((mut log, store)) = self.logs.log_and_purchases().await? {
            log.port.store = Some(store.port);
            return Ok(log.port);
        }
        let opened = self.logs.log(TopicSpec::purchases(self.settings)).await?;
        Ok(opened.port)
    }

    /// Returns the store of the purchases: the store in the file of `log`, or else a store that is
    /// opened now.
    ///
    /// # Errors
    /// The errors of the backend.
    pub async fn store(&self, log: &TopicLog) -> Result<PurchasesStore> {
        if let Some(store) = &log.store {
            return Ok(store.clone());
        }
        let opened = backend::for_purchases(self.settings).purchases().await?;
        Ok(opened.port)
    }

    /// Opens the ports of users and of orders that the settings select, and adds them to `ports`.
    /// Does not read from the log yet.
    ///
    /// # Errors
    /// The error of the first port that cannot be opened.
    pub async fn add_users_and_orders(&self, ports: &mut Ports) -> Result<()> {
        let settings = self.settings;
        if let Some(url) = &settings.users_url {
            let users = client(url, settings).await?.users();
            ports.users = Some(EntityRuntime::new(Arc::new(users), None));
        }
        if let Some(url) = &settings.orders_url {
            let orders = client(url, settings).await?.orders();
            ports.orders = Some(EntityRuntime::new(Arc::new(orders), None));
        }

        let (keeps_users, keeps_orders) = settings.keeps();
        if !keeps_users && !keeps_orders {
            return Ok(());
        }
        let user_events = self.logs.log(TopicSpec::users(settings)).await?.port;
        let order_events = self.logs.log(TopicSpec::orders(settings)).await?.port;

        if keeps_users {
            let users = backend::for_entities(settings).users().await?.port;
            users.set_event_log(user_events.log.admin());
            let local = LocalRows {
                outbox: Arc::clone(&users) as _,
                writer: user_events.log.writer(),
                projection: Arc::clone(&users) as _,
                subscribed: order_events.clone(),
            };
            ports.users = Some(EntityRuntime::new(users, Some(local)));
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
            ports.orders = Some(EntityRuntime::new(orders, Some(local)));
        }
        Ok(())
    }
}

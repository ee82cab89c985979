//! Opens the ports of a service, by its settings.

mod background;
mod entities;
mod pending_dead_letters;
mod purchases;

use std::sync::Arc;
use std::time::Duration;

use shop_core::domain::Currency;
use shop_core::entity::EntityStore;
use shop_core::log::RecordType;
use shop_core::orders::Order;
use shop_core::users::{User, UserStore};
use shop_http::{DeadLetterLog, Metrics, Parts, ServiceKind};

use crate::Result;
use crate::backend::{self, TopicLog};
use crate::settings::{ProcessRole, Settings};
use crate::signal::Shutdown;
use entities::Entity;
use purchases::Purchases;

pub(crate) use background::Background;

/// The ports of a service.
#[derive(Default)]
pub(crate) struct Ports {
    purchases: Option<Purchases>,
    users: Option<Entity<dyn UserStore, Order>>,
    orders: Option<Entity<dyn EntityStore<Order>, User>>,
}

impl Ports {
    /// Opens the ports that the settings select. Does not read from the log yet.
    ///
    /// # Errors
    /// The first port that cannot be opened, and why.
    pub(crate) async fn open(settings: &Settings) -> Result<Self> {
        // Not in optimized programs, also if they are built together with tests.
        #[cfg(all(feature = "failpoints", debug_assertions))]
        shop_core::init_failpoints();
        // The logs share its clients.
        let logs = &*backend::for_log(settings);
        let mut ports = Self::default();
        if settings.has(ProcessRole::Purchases) {
            ports.purchases = Some(purchases::open(settings, logs).await?);
        }
        (ports.users, ports.orders) = entities::open(settings, logs).await?;
        Ok(ports)
    }

    /// Starts the background tasks that the settings select: joins the consumer groups.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn start(
        &mut self,
        settings: &Settings,
        metrics: &Metrics,
        shutdown: &Shutdown,
    ) -> Result<Background> {
        let mut background = Background::new(shutdown);
        if let Some(purchases) = &mut self.purchases {
            purchases.start(&mut background, settings, metrics, shutdown)?;
        }
        if let Some(users) = &mut self.users {
            users.start(&mut background, settings, metrics)?;
        }
        if let Some(orders) = &mut self.orders {
            orders.start(&mut background, settings, metrics)?;
        }
        Ok(background)
    }

    /// The parts of the service's router.
    pub(crate) fn parts(&self, service: ServiceKind, metrics: Metrics) -> Parts {
        let purchases = self
            .purchases
            .as_ref()
            .map(|purchases| purchases.role.clone());
        let mut parts = Parts::new(service, purchases);
        parts.metrics = metrics;
        if let Some(purchases) = &self.purchases {
            parts.clock = Arc::new(purchases.clock);
        }
        parts.users = self.users.as_ref().map(|users| users.role.clone());
        parts.orders = self.orders.as_ref().map(|orders| orders.role.clone());
        if service == ServiceKind::Management {
            parts
                .dead_letters
                .extend(self.users.as_ref().and_then(Entity::dead_letters));
            parts
                .dead_letters
                .extend(self.orders.as_ref().and_then(Entity::dead_letters));
        }
        parts
    }

    /// The currency of the purchases, if they have one.
    pub(crate) fn currency(&self) -> Option<Currency> {
        self.purchases.as_ref()?.currency.clone()
    }

    /// Rejects new purchases, and waits until the accepted ones are durable, at most for `drain`.
    ///
    /// # Errors
    /// When some are not durable by then.
    pub(crate) async fn flush(&self, drain: Duration) -> Result<()> {
        match &self.purchases {
            Some(purchases) => Ok(purchases.role.sink.close(drain).await?),
            None => Ok(()),
        }
    }
}

/// The dead letters of `log`, whose records are of type `of`.
fn dead_letters(log: &TopicLog, of: RecordType) -> DeadLetterLog {
    DeadLetterLog::new(&*log.topic, of, Arc::clone(&log.log))
}

//! From settings to ports. The only place that knows which adapters were built.

mod accounts;
mod check;
#[cfg(feature = "failpoints")]
mod failpoints;
mod log;
mod purchases;
mod store;
mod whole;

use std::pin::Pin;
use std::sync::Arc;

use shop_core::log::LogSource;
use shop_http::{Facing, Management, Metrics, Parts, PurchasesRole};

use crate::Result;
use crate::run::Running;
use crate::settings::Settings;

use accounts::Accounts;
pub(crate) use check::{Part, State, parts};
pub use purchases::Purchases;
pub use store::migrate;
pub(crate) use whole::{Projection, log_admin, orders_projection, query, users_projection};

/// What is asked for and this program was built without.
#[must_use]
pub fn unbuilt(kafka: bool, mongodb: bool) -> Vec<String> {
    let mut faults = Vec::new();
    if kafka && cfg!(not(feature = "kafka")) {
        faults.push(without("Kafka", "KAFKA_BOOTSTRAP_SERVERS", "log"));
    }
    if mongodb && cfg!(not(feature = "mongodb")) {
        faults.push(without("MongoDB", "MONGODB_URI", "store"));
    }
    if !(kafka && mongodb) && cfg!(not(feature = "embedded")) {
        faults.push(
            "this program was built without the embedded log and store: set KAFKA_BOOTSTRAP_SERVERS and \
             MONGODB_URI, or build it with feature `embedded`"
                .to_owned(),
        );
    }
    faults
}

fn without(what: &str, setting: &str, embedded: &str) -> String {
    format!(
        "{what} is asked for ({setting}, or another name of it), but this program was built without it: unset that \
         to use the embedded {embedded}, or build it with feature `{}`",
        what.to_lowercase()
    )
}

/// Joins a group that reads the log.
type OpenSource = Arc<dyn Fn(&str) -> Result<Arc<dyn LogSource>> + Send + Sync>;

/// Completes when what was opened has been dropped and is closed.
type Closed = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// What has been opened so far.
#[derive(Default)]
struct Opening {
    closed: Vec<Closed>,
}

impl Opening {
    fn note(&mut self, closed: Closed) {
        self.closed.push(closed);
    }
}

/// Everything that a service stands on.
#[expect(missing_debug_implementations, reason = "a function among its fields has no Debug")]
pub struct Ports {
    /// What purchases stand on, if they are a role of this process.
    pub purchases: Option<Purchases>,
    accounts: Accounts,
    closed: Vec<Closed>,
}

/// Opens what the settings ask for. Nothing is read from the log yet.
///
/// # Errors
/// What cannot be opened, and why.
pub async fn ports(settings: &Settings) -> Result<Ports> {
    #[cfg(feature = "failpoints")]
    shop_core::fault::init_failpoints();
    let mut opening = Opening::default();
    let purchases = match settings.roles.has(crate::roles::Role::Purchases) {
        true => Some(purchases::open(settings, &mut opening).await?),
        false => None,
    };
    let accounts = accounts::open(settings, &mut opening).await?;
    Ok(Ports { purchases, accounts, closed: opening.closed })
}

impl Ports {
    /// What facing's router is built from, with what runs in this process.
    #[must_use]
    pub fn facing(&self, running: &Running, metrics: Metrics) -> Facing {
        let purchases = self.purchases.as_ref().map(|purchases| purchases.facing(running.ingest()));
        self.parts(purchases, running, metrics)
    }

    /// What management's router is built from, with what runs in this process.
    ///
    /// # Errors
    /// When purchases have no store.
    pub fn management(&self, running: &Running, metrics: Metrics) -> Result<Management> {
        let purchases = self.purchases.as_ref().map(|purchases| purchases.management(running.ingest()));
        Ok(self.parts(purchases.transpose()?, running, metrics))
    }

    fn parts<W>(&self, purchases: Option<PurchasesRole<W>>, running: &Running, metrics: Metrics) -> Parts<W> {
        let mut parts = Parts::default();
        (parts.purchases, parts.metrics) = (purchases, metrics);
        parts.users = self.accounts.users.as_ref().map(|users| users.role(running.users.as_ref()));
        parts.orders = self.accounts.orders.as_ref().map(|orders| orders.role(running.orders.as_ref()));
        parts
    }

    /// Starts what the settings ask for beside the server: joins the groups that read the log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn start(
        &self,
        settings: &Settings,
        metrics: &Metrics,
        shutdown: &crate::signal::Shutdown,
    ) -> Result<Running> {
        let mut running = Running::new(shutdown);
        if let Some(purchases) = &self.purchases {
            if let Some(unreadable) = &purchases.unreadable {
                metrics.count_unreadable(Arc::clone(unreadable));
            }
            running.carry_purchases(purchases.ingest(settings, metrics)?);
            if let Some(ingest) = running.ingest() {
                running.count_letters(&purchases.admin, &settings.topic, &ingest, metrics);
            }
        }
        if let Some(local) = self.accounts.users.as_ref().and_then(|users| users.local.as_ref()) {
            running.users = Some(local.start(&mut running, settings, metrics)?);
        }
        if let Some(local) = self.accounts.orders.as_ref().and_then(|orders| orders.local.as_ref()) {
            running.orders = Some(local.start(&mut running, settings, metrics)?);
        }
        Ok(running)
    }

    /// Drops all of them, and waits until nobody else has them either and they are closed.
    pub async fn close(mut self) {
        let closed = std::mem::take(&mut self.closed);
        drop(self);
        for port in closed {
            port.await;
        }
    }
}

#[cfg(feature = "embedded")]
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn in_data_dir(error: shop_core::Error) -> crate::Failure {
    crate::Failure::about("the data folder (SHOP_DATA_DIR) cannot be used", &error)
}

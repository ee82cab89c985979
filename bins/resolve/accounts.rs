//! Users and orders: from settings to their stores, and to what runs beside these.

use std::sync::Arc;

use shop_core::ingest::Ingest;
use shop_core::log::{DeadLetters, LogAdmin, LogWriter};
use shop_core::orders::{Order, OrderStore};
use shop_core::outbox::{Outbox, Relay, RelayOptions};
use shop_core::ports::RecordStore;
use shop_core::record::Record;
use shop_core::users::{User, UserStore};
use shop_http::{EntityRole, Metrics};

use super::log::{self, Log, Topic};
use super::{OpenSource, Opening, purchases, store};
use crate::Result;
use crate::roles::Role;
use crate::run::{Running, RunningAccount};
use crate::settings::{AccountSettings, Settings};

/// Users and orders, as far as they are roles of this process.
#[derive(Default)]
pub(super) struct Accounts {
    pub(super) users: Option<Account<dyn UserStore, Order>>,
    pub(super) orders: Option<Account<dyn OrderStore, User>>,
}

/// Rows of one kind; they hear of the others by the events `R`.
pub(super) struct Account<S: ?Sized, R: Record> {
    pub(super) store: Arc<S>,
    /// Nothing where another process keeps them.
    pub(super) local: Option<LocalEntity<R>>,
    /// Whether the store is a file of this process.
    pub(super) is_local: bool,
}

/// What stands behind rows that this process keeps.
pub(super) struct LocalEntity<R: Record> {
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) event_writer: Arc<dyn LogWriter>,
    pub(super) projection: Arc<dyn RecordStore<R>>,
    pub(super) open_source: OpenSource,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) admin: Arc<dyn LogAdmin>,
    pub(super) group: String,
    /// The topic of the events that the projection is made of.
    pub(super) subscribed_topic: String,
}

impl<S: ?Sized, R: Record> Account<S, R> {
    /// Rows that another process keeps.
    const fn elsewhere(store: Arc<S>) -> Self {
        Self { store, local: None, is_local: false }
    }

    /// The rows as a service has them, with what runs for them in this process.
    pub(super) fn role(&self, running: Option<&RunningAccount>) -> EntityRole<Arc<S>> {
        let mut role = EntityRole::new(Arc::clone(&self.store));
        if let Some((relay, events)) = running.cloned() {
            (role.relay, role.ingest) = (Some(relay), events);
        }
        role.subscribed_topic = self.local.as_ref().map(|local| local.subscribed_topic.clone());
        role.is_local = self.is_local;
        role
    }
}

impl<R: Record> LocalEntity<R> {
    /// What tells others of the rows: wherever rows are written, as nobody else may do it.
    pub(super) fn relay(&self) -> Relay {
        Relay::new(Arc::clone(&self.outbox), Arc::clone(&self.event_writer), RelayOptions::default())
    }

    /// Starts both in `running`, with `metrics` for dead letters.
    pub(super) fn start(
        &self,
        running: &mut Running,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<RunningAccount> {
        let account = running.carry_events(self.relay(), self.ingest(settings)?);
        if let Some(events) = &account.1 {
            running.count_letters(&self.admin, &self.subscribed_topic, events, metrics);
        }
        Ok(account)
    }

    /// What brings in the events of others, if the settings ask for it.
    pub(super) fn ingest(&self, settings: &Settings) -> Result<Option<Ingest<R>>> {
        if !settings.ingest {
            return Ok(None);
        }
        Ok(Some(Ingest::new(
            (self.open_source)(&self.group)?,
            Arc::clone(&self.projection),
            Arc::clone(&self.dead_letters),
            settings.ingest_options.clone(),
        )))
    }
}

/// Opens what the settings ask for. Nothing is read from the log yet.
pub(super) async fn open(settings: &Settings, opening: &mut Opening) -> Result<Accounts> {
    let mut accounts = Accounts::default();
    let asked = |role: Role, url: &Option<String>| settings.roles.has(role).then(|| url.clone());
    let (users, orders) =
        (asked(Role::Users, &settings.users.url), asked(Role::Orders, &settings.orders.url));
    if let Some(Some(url)) = &users {
        accounts.users = Some(Account::elsewhere(Arc::new(purchases::client(url)?)));
    }
    if let Some(Some(url)) = &orders {
        accounts.orders = Some(Account::elsewhere(Arc::new(purchases::client(url)?)));
    }
    let is_local = settings.mongodb.is_none();
    let (keeps_users, keeps_orders) = (users == Some(None), orders == Some(None));
    if !keeps_users && !keeps_orders {
        return Ok(accounts);
    }
    let of_users = events(settings, &settings.users.topic, opening).await?;
    let of_orders = events(settings, &settings.orders.topic, opening).await?;
    if keeps_users {
        let store = store::users(settings).await?;
        opening.note(store.closed);
        let local = local(
            store.outbox,
            store.projection,
            (&of_users, &settings.users),
            (&of_orders, &settings.orders),
        );
        accounts.users = Some(Account { store: store.store, local: Some(local), is_local });
    }
    if keeps_orders {
        let store = store::orders(settings).await?;
        opening.note(store.closed);
        let local = local(
            store.outbox,
            store.projection,
            (&of_orders, &settings.orders),
            (&of_users, &settings.users),
        );
        accounts.orders = Some(Account { store: store.store, local: Some(local), is_local });
    }
    #[cfg(feature = "failpoints")]
    let accounts = super::failpoints::around_accounts(accounts);
    Ok(accounts)
}

async fn events(settings: &Settings, topic: &str, opening: &mut Opening) -> Result<Log> {
    let mut log = log::open(settings, Topic::Events(topic)).await?;
    let closed = std::mem::replace(&mut log.closed, Box::pin(std::future::ready(())));
    opening.note(closed);
    Ok(log)
}

fn local<R: Record>(
    outbox: Arc<dyn Outbox>,
    projection: Arc<dyn RecordStore<R>>,
    (own_log, own): (&Log, &AccountSettings),
    (others_log, others): (&Log, &AccountSettings),
) -> LocalEntity<R> {
    LocalEntity {
        outbox,
        event_writer: Arc::clone(&own_log.records),
        projection,
        open_source: Arc::clone(&others_log.open_source),
        dead_letters: Arc::clone(&others_log.dead_letters),
        admin: Arc::clone(&others_log.admin),
        group: own.group.clone(),
        subscribed_topic: others.topic.clone(),
    }
}

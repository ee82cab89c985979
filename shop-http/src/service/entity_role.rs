//! What a service stands on that has users, or orders, beside purchases or instead of them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shop_core::Result;
use shop_core::ingest::IngestMonitor;
use shop_core::orders::{Order, OrderStore};
use shop_core::outbox::RelayMonitor;
use shop_core::record::Event;
use shop_core::users::{User, UserStore};

use crate::service::{Role, Service};

/// Users, as a service has them. It hears of orders.
pub type UsersRole = AccountRole<dyn UserStore>;
/// Orders, as a service has them. It hears of users.
pub type OrdersRole = AccountRole<dyn OrderStore>;

/// Rows of one kind, and what runs for them in this process.
#[derive(Debug)]
#[non_exhaustive]
pub struct AccountRole<S: ?Sized> {
    /// Where the rows are: a store, or another service.
    pub store: Arc<S>,
    /// The ingest that brings in the other role's events, if it runs in this process: management is not ready when it
    /// does not.
    pub events: Option<IngestMonitor>,
    /// The relay that tells others of the rows, if it runs in this process: its state is told in `/health` and
    /// `/metrics`.
    pub relay: Option<RelayMonitor>,
    /// The topic of the events that it hears of, as metrics name it; the events' own unless chosen.
    pub hears: Option<String>,
    /// Whether the store is a file of this process, which `/readyz` checks. The default is `false`.
    pub is_local: bool,
}

impl<S: ?Sized> AccountRole<S> {
    /// The rows of `store`, of which this process neither tells anybody, nor hears anything.
    #[must_use]
    pub const fn new(store: Arc<S>) -> Self {
        Self { store, events: None, relay: None, hears: None, is_local: false }
    }
}

// Derived, it would ask the store itself to be `Clone`.
impl<S: ?Sized> Clone for AccountRole<S> {
    fn clone(&self) -> Self {
        let Self { store, events, relay, hears, is_local } = self;
        let (store, hears) = (Arc::clone(store), hears.clone());
        Self { store, events: events.clone(), relay: relay.clone(), hears, is_local: *is_local }
    }
}

/// What both roles are asked about themselves.
pub(crate) struct Account<'a> {
    /// Its name, as it is told.
    pub(crate) name: &'static str,
    /// The topic of the events that it hears of.
    pub(crate) hears: &'a str,
    pub(crate) events: Option<&'a IngestMonitor>,
    pub(crate) relay: Option<&'a RelayMonitor>,
    /// Whether its store is a file of this process.
    pub(crate) is_local: bool,
    /// Whether its store is well, once it is asked.
    pub(crate) check: BoxFuture<'a, Result<()>>,
}

impl<'a> Account<'a> {
    fn new<S: ?Sized>(
        name: &'static str,
        own_topic: &'static str,
        role: &'a AccountRole<S>,
        check: BoxFuture<'a, Result<()>>,
    ) -> Self {
        let hears = role.hears.as_deref().unwrap_or(own_topic);
        let (events, relay) = (role.events.as_ref(), role.relay.as_ref());
        Self { name, hears, events, relay, is_local: role.is_local, check }
    }
}

impl Service {
    /// The roles beside purchases that this service has.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        let users = self.users.iter();
        let users = users.map(|role| Account::new("users", Order::TOPIC, role, role.store.check()));
        let orders = self.orders.iter();
        users.chain(orders.map(|role| Account::new("orders", User::TOPIC, role, role.store.check())))
    }

    /// Every ingest of this process: that of purchases, and those of events.
    pub(crate) fn ingests(&self) -> impl Iterator<Item = &IngestMonitor> {
        let users = self.users.iter().filter_map(|role| role.events.as_ref());
        let orders = self.orders.iter().filter_map(|role| role.events.as_ref());
        self.ingest.iter().chain(users).chain(orders)
    }

    /// Those of them that run in this process, rather than behind it.
    pub(crate) fn own_accounts(&self) -> impl Iterator<Item = Account<'_>> {
        let runs = |account: &Account<'_>| account.events.is_some() || account.relay.is_some();
        self.accounts().filter(move |account| self.role == Role::Management || runs(account))
    }
}

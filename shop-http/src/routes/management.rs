//! The service behind facing: owns the store, and the ingest that fills it.

use std::sync::Arc;

use axum::Router;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{Durability, PurchaseQuery, PurchaseStore};
use shop_core::{Clock, SystemClock};

use crate::metrics::{Metrics, Publishing};
use crate::resources::{buy, docs, listing};
use crate::routes::shared::everywhere;
use crate::routes::{Routes, read};
use crate::server::layers;
use crate::server::options::HttpOptions;
use crate::service::entity_role::{OrdersRole, UsersRole};
use crate::service::lookup::Lookup;
use crate::service::no_purchases::NoPurchases;
use crate::service::store_sink::StoreSink;
use crate::service::{LocalPorts, Role, Service};

/// What management stands on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Management {
    /// Where its own POST goes, past the log.
    pub store: Arc<dyn PurchaseStore>,
    /// What a purchase in the store survives.
    pub durability: Durability,
    /// Where listings come from.
    pub query: Arc<dyn PurchaseQuery>,
    /// The ingest that fills the store, if it runs in this process: without it the service is not ready.
    pub ingest: Option<IngestMonitor>,
    /// Users, if there are any; none unless chosen.
    pub users: Option<UsersRole>,
    /// Orders, if there are any; none unless chosen.
    pub orders: Option<OrdersRole>,
    /// The time of day, and fresh ids.
    pub clock: Arc<dyn Clock>,
    /// What is told in `/metrics`; of this service alone unless chosen.
    pub metrics: Metrics,
    /// The ports that are files of this process; the default is none.
    pub local: LocalPorts,
    has_purchases: bool,
}

impl Management {
    /// Management on `store` and `query`, without an ingest of its own.
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseStore>, durability: Durability, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            store,
            durability,
            query,
            ingest: None,
            users: None,
            orders: None,
            clock: Arc::new(SystemClock),
            metrics: Metrics::new(),
            local: LocalPorts::default(),
            has_purchases: true,
        }
    }

    /// Management without purchases: of users, of orders, or of both, which are still to be given. What is asked about
    /// purchases is not found.
    #[must_use]
    pub fn without_purchases() -> Self {
        let nothing = Arc::new(NoPurchases);
        let store: Arc<dyn PurchaseStore> = Arc::clone(&nothing) as _;
        Self { has_purchases: false, ..Self::new(store, Durability::Memory, nothing) }
    }
}

/// The routes of management.
pub fn management(parts: Management, options: HttpOptions) -> Router {
    let service = Arc::new(Service {
        role: Role::Management,
        sink: Arc::new(StoreSink { store: parts.store, durability: parts.durability }),
        query: parts.query,
        ingest: parts.ingest,
        has_purchases: parts.has_purchases,
        users: parts.users,
        orders: parts.orders,
        clock: parts.clock,
        local: parts.local,
        publishing: Publishing::new(&parts.metrics, Role::Management),
        metrics: parts.metrics,
        known_keys: None,
        lookup: Lookup::new(),
        recent: None,
        options,
    });
    layers::around(docs::beside(routes(&service), &service), &service)
}

pub(crate) fn routes(service: &Service) -> Routes {
    let of_a_user = Routes::new().route("/purchases/{who}", read(listing::get));
    let own = of_a_user
        .clone()
        .route("/purchases", read(listing::of_everybody).post(buy::post_into_store))
        .route("/buyList/{who}", read(listing::buy_list));
    everywhere(service, own, of_a_user)
}

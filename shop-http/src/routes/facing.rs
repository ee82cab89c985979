//! The service that customers meet: takes purchases, answers listings.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{PurchaseQuery, PurchaseSink};
use shop_core::{Clock, SystemClock};

use crate::metrics::{Metrics, Publishing};
use crate::resources::{buy, docs, listing};
use crate::routes::shared::everywhere;
use crate::routes::{Routes, read};
use crate::server::layers;
use crate::server::options::HttpOptions;
use crate::service::entity_role::{OrdersRole, UsersRole};
use crate::service::idempotency::KnownKeys;
use crate::service::lookup::Lookup;
use crate::service::recent::RecentBuys;
use crate::service::{LocalPorts, Role, Service};

/// What facing stands on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facing {
    /// Where purchases go.
    pub sink: Arc<dyn PurchaseSink>,
    /// Where listings come from: the store itself, or another service.
    pub query: Arc<dyn PurchaseQuery>,
    /// The ingest that runs in this process, if one does: its state is told in `/health` and `/metrics`.
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
}

impl Facing {
    /// Facing on `sink` and `query`, without an ingest of its own.
    #[must_use]
    pub fn new(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            sink,
            query,
            ingest: None,
            users: None,
            orders: None,
            clock: Arc::new(SystemClock),
            metrics: Metrics::new(),
            local: LocalPorts::default(),
        }
    }
}

/// The routes of facing.
pub fn facing(parts: Facing, options: HttpOptions) -> Router {
    let service = Arc::new(Service {
        role: Role::Facing,
        sink: parts.sink,
        query: parts.query,
        ingest: parts.ingest,
        has_purchases: true,
        users: parts.users,
        orders: parts.orders,
        clock: parts.clock,
        local: parts.local,
        publishing: Publishing::new(&parts.metrics, Role::Facing),
        metrics: parts.metrics,
        known_keys: Some(KnownKeys::new()),
        lookup: Lookup::new(),
        recent: options.remember_buys.then(RecentBuys::new),
        options,
    });
    layers::around(docs::beside(routes(&service), &service), &service)
}

pub(crate) fn routes(service: &Service) -> Routes {
    let own = Routes::new().route("/buy", post(buy::post)).route("/getAllUserBuys/{who}", read(listing::get));
    everywhere(service, own.clone(), own)
}

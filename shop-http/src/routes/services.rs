//! The two services. They differ in their paths outside of `/v1` and in where purchases are written.

use axum::Router;
use axum::routing::post;

use crate::options::HttpOptions;
use crate::resources::{buy, listing};
use crate::routes::builder::routes as builder;
use crate::routes::path_router::{Routes, read};
use crate::routes::shared_routes::shared_routes;
use crate::service::Service;
use crate::service::parts::{Facing, Management};
use crate::service_kind::ServiceKind;

/// The router of facing, the customer-facing service: accepts purchases into a log, and serves listings.
///
/// This is [`routes(parts).options(options).build()`](crate::routes), with all groups of routes.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{Facing, HttpOptions, facing};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let router = facing(Facing::new(Arc::new(log.sink()), Arc::new(store)), HttpOptions::default());
/// ```
pub fn facing(parts: Facing, options: HttpOptions) -> Router {
    builder(parts).options(options).build()
}

/// The router of management, the service behind facing: owns the store.
///
/// This is [`routes(parts).options(options).build()`](crate::routes), with all groups of routes.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::InMemoryStore;
/// use shop_core::ports::Durability;
/// use shop_http::{HttpOptions, Management, management};
///
/// let store = Arc::new(InMemoryStore::new());
/// let parts = Management::new(store.clone(), Durability::Memory, store);
/// let router = management(parts, HttpOptions::default());
/// ```
pub fn management(parts: Management, options: HttpOptions) -> Router {
    builder(parts).options(options).build()
}

/// The routes of `service`, without those of the documentation.
pub(crate) fn routes(service: &Service) -> Routes {
    let of_a_user = |path| Routes::new().route(path, read(listing::get));
    let (own, under_api_v1) = match service.kind {
        ServiceKind::Facing => {
            let own = of_a_user("/getAllUserBuys/{who}").route("/buy", post(buy::post));
            (own.clone(), own)
        }
        ServiceKind::Management => {
            let of_a_user = of_a_user("/purchases/{who}");
            let own = of_a_user
                .clone()
                .route("/purchases", read(listing::list_all).post(buy::post_into_store))
                .route("/buyList/{who}", read(listing::buy_list));
            (own, of_a_user)
        }
    };
    shared_routes(service, own, under_api_v1)
}

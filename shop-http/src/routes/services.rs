//! The two services. They differ in their paths outside of `/v1` and in where purchases are written.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use shop_core::ports::PurchaseSink;

use crate::options::HttpOptions;
use crate::resources::{buy, listing};
use crate::routes::docs_routes::with_docs;
use crate::routes::path_router::{Routes, read};
use crate::routes::shared_routes::shared_routes;
use crate::server::layers;
use crate::service::Service;
use crate::service::parts::{Facing, Management, Parts};
use crate::service_kind::ServiceKind;

/// The router of facing, the customer-facing service: accepts purchases into a log, and serves listings.
pub fn facing(parts: Facing, options: HttpOptions) -> Router {
    router(ServiceKind::Facing, parts, options)
}

/// The router of management, the service behind facing: owns the store.
pub fn management(parts: Management, options: HttpOptions) -> Router {
    router(ServiceKind::Management, parts, options)
}

fn router<W: Into<Arc<dyn PurchaseSink>>>(
    kind: ServiceKind,
    parts: Parts<W>,
    options: HttpOptions,
) -> Router {
    let service = Arc::new(Service::new(kind, parts, options));
    layers::around(with_docs(routes(&service), &service).into_router(), &service)
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

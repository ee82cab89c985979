//! The two services. They differ in their paths outside of `/v1` and in where purchases are written.

use axum::routing::post;

use crate::resources::{buy, listing};
use crate::routes::path_router::{Routes, read};
use crate::routes::shared_routes::shared_routes;
use crate::service::Service;
use crate::service_kind::ServiceKind;

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

//! The state of a service, and checks of what its clients reach. `responses/health.txt` has the states
//! of other versions.

use std::sync::Arc;

use axum::Router;
use shop_client::PurchaseQuery;
use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_http::{RouteGroup, routes};

use crate::prelude::*;

#[tokio::test]
async fn a_service_reports_its_parts() {
    let facing = Script::default().client().await;
    insta::assert_debug_snapshot!(facing.health().await.unwrap());
}

#[tokio::test]
async fn a_check_needs_v1_alone() {
    let faults = Faults::new();
    let facing = || {
        let sink = faults.sink(Arc::new(InMemoryLog::default().sink()));
        routes(Parts::facing(sink, Arc::new(InMemoryStore::new())))
    };
    let of_v1 = facing().only([RouteGroup::V1]).build();
    let client_at = async |router: Router, prefix: &str| {
        let url = format!("{}{prefix}", served(router).await);
        ShopClient::builder(url).build().unwrap()
    };
    let clients = [
        client_at(facing().build_with_admin().0, "").await,
        client_at(Router::new().nest("/shop", of_v1), "/shop").await,
    ];
    for client in &clients {
        PurchaseSink::check(client).await.unwrap();
        client.shop().check().await.unwrap();
        client.check_reads().await.unwrap();
    }
    faults.always(Call::Check, Fault::unavailable());
    for client in &clients {
        assert_eq!(
            client.check().await.unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        client.check_reads().await.expect("listings work");
    }
}

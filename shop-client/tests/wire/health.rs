//! Checks of what clients reach. `responses/health.txt` has the states of services.

use std::sync::Arc;

use axum::Router;
use shop_client::PurchaseQuery;
use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_http::{RouteGroup, routes};

use crate::prelude::*;

#[tokio::test]
async fn a_check_needs_v1_alone() {
    let faults = Faults::new();
    let sink = faults.sink(Arc::new(InMemoryLog::default().sink()));
    let facing = routes(Parts::facing(sink, Arc::new(InMemoryStore::new())));
    let of_v1 = facing.only([RouteGroup::V1]).build();
    let url = served(Router::new().nest("/shop", of_v1)).await;
    let client = ShopClient::builder(format!("{url}/shop")).build().unwrap();

    PurchaseSink::check(&client).await.unwrap();
    client.shop().check().await.unwrap();
    client.check_reads().await.unwrap();
    faults.always(Call::Check, Fault::unavailable());
    let error = client.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    client.check_reads().await.expect("listings work");
}

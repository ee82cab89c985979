//! Checks of what clients reach. `responses/health.txt` has the states of services.

use std::sync::Arc;

use axum::Router;
use shop_client::PurchaseQuery;
use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_client::shop_core::ports::{Durability, ShopCurrency};
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

#[tokio::test]
async fn a_service_reports_the_currency_of_its_store_and_not_of_its_settings() {
    let [euro, dollar] = ["EUR", "USD"].map(|currency| currency.parse().unwrap());
    let euros = InMemoryStore::new();
    let in_euros = ShopCurrency::not_yet_known(Some(euro));
    in_euros.ask(&euros).await.unwrap();

    // The settings of the service name another currency, and its store has not answered yet.
    let of_service = ShopCurrency::not_yet_known(Some(dollar));
    let (store, query) = (Arc::new(euros.clone()), Arc::new(euros.clone()));
    let mut parts = Parts::management(store, Durability::Memory, query);
    parts.purchases.as_mut().unwrap().currency = of_service.clone();
    let url = served(routes(parts).build()).await;
    let client = ShopClient::builder(url).build().unwrap();
    let error = client.currency().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let of_facing = ShopCurrency::not_yet_known(None);
    of_facing.ask(&client).await.unwrap_err();
    of_facing.known().unwrap_err();

    of_service.ask(&euros).await.unwrap_err();
    let reported = client.currency().await.unwrap();
    assert_eq!(reported, in_euros.known().unwrap());
    of_facing.ask(&client).await.unwrap();
    assert_eq!(of_facing.known().unwrap(), reported);
}

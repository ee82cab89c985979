//! Checks of a service by what its clients reach.

use std::sync::Arc;

use axum::Router;
use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_client::shop_core::conformance::fault::{Call, Fault, Faults};
use shop_client::{ErrorKind, PurchaseQuery, PurchaseSink, ShopClient};
use shop_http::{Parts, RouteGroup, routes};

use crate::shop::served;

fn facing(faults: &Faults) -> Parts {
    Parts::facing(
        faults.sink(Arc::new(InMemoryLog::default().sink())),
        Arc::new(InMemoryStore::new()),
    )
}

async fn client_at(router: Router, prefix: &str) -> ShopClient {
    ShopClient::builder(format!("{}{prefix}", served(router).await))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_check_needs_v1_alone() {
    let faults = Faults::new();
    let of_v1 = || routes(facing(&faults)).only([RouteGroup::V1]).build();
    let clients = [
        (
            "beside an admin listener",
            client_at(routes(facing(&faults)).build_with_admin().0, "").await,
        ),
        ("only V1", client_at(of_v1(), "").await),
        (
            "below a prefix",
            client_at(Router::new().nest("/shop", of_v1()), "/shop").await,
        ),
        ("below the prefix of an ingress", {
            client_at(routes(facing(&faults)).build(), "/scalable-shop-cm-server").await
        }),
    ];
    for (case, client) in &clients {
        for checked in [
            client.check().await,
            client.shop().check().await,
            PurchaseSink::check(client).await,
        ] {
            checked.unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        client.check_reads().await.unwrap();
    }
    faults.always(Call::Check, Fault::unavailable());
    for (case, client) in &clients {
        assert_eq!(
            client.check().await.unwrap_err().kind(),
            ErrorKind::Unavailable,
            "{case}"
        );
        client
            .check_reads()
            .await
            .unwrap_or_else(|error| panic!("{case}: listings work: {error}"));
    }
}

#[tokio::test]
async fn an_older_service_cannot_be_checked() {
    let client = client_at(Router::new(), "").await;
    let error = client.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("is unknown"), "{error}");
}

#[tokio::test]
async fn a_check_requires_a_readiness_response() {
    for (body, is_ready) in [
        (r#"{"status":"ready","mongo":"up"}"#, true),
        ("ok", false),
        (r#"{"status":"alive"}"#, false),
    ] {
        let client = client_at(Router::new().fallback(move || async move { body }), "").await;
        assert_eq!(client.check().await.is_ok(), is_ready, "{body}");
    }
}

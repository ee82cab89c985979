//! The checkout in memory, on files, over HTTP, and on mocks that fail.

use std::sync::Arc;
use std::time::Duration;

use outside::{Answer, Checkout};
use shop_client::ShopClient;
use shop_core::ports::{MockPurchasePublisher, MockPurchaseQuery};
use shop_core::{Error, ErrorKind, Shop};
use shop_http::{HttpOptions, Parts, router, serve};
use shop_store::embedded::EmbeddedShop;
use tokio::net::TcpListener;

/// What has to hold on every backend.
async fn an_order_is_bought_once(shop: Shop) {
    let checkout = Checkout::new(shop.clone());
    let first = checkout.pay(7, "u1", "ada", "29.99").await.unwrap();
    let again = checkout.pay(7, "u1", "ada", "29.99").await.unwrap();
    assert_eq!(first, again);

    let Answer::Bought(id) = first else {
        panic!("{first:?}")
    };
    assert!(
        shop.wait_until_stored(&id, Duration::from_secs(10))
            .await
            .unwrap()
    );
    let purchases = shop.user("u1");
    assert_eq!(purchases.summary().await.unwrap().count, 1);
    assert!(checkout.is_known("u1").await.unwrap());
    assert!(!checkout.is_known("u2").await.unwrap());
}

#[tokio::test]
async fn in_memory() {
    an_order_is_bought_once(Shop::in_memory()).await;
}

#[tokio::test]
async fn on_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = EmbeddedShop::open(folder.path()).await.unwrap();
    an_order_is_bought_once(files.shop()).await;
    files.close(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn over_http() {
    let behind = Shop::in_memory();
    let options = HttpOptions::default();
    let router = router(Parts::from(behind.backend()), options.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { serve(listener, router, &options, std::future::pending()).await });

    let client = ShopClient::builder(address).build().unwrap();
    an_order_is_bought_once(client.shop()).await;
}

#[tokio::test]
async fn each_error_has_a_message_for_the_customer() {
    for (kind, expected) in [
        (ErrorKind::Overloaded, Answer::TryAgain),
        (ErrorKind::DeadlineExceeded, Answer::Unclear),
    ] {
        let mut publisher = MockPurchasePublisher::new();
        publisher
            .expect_publish_new()
            .times(1)
            .returning(move |_, _| Err(Error::new(kind, "on demand")));
        let checkout = Checkout::new(Shop::from_publisher(publisher, MockPurchaseQuery::new()));
        assert_eq!(
            checkout.pay(7, "u1", "ada", "29.99").await.unwrap(),
            expected
        );
    }
}

#[tokio::test]
async fn a_failed_listing_is_an_error() {
    let mut query = MockPurchaseQuery::new();
    query
        .expect_summary()
        .returning(|_| Err(Error::new(ErrorKind::Unavailable, "on demand")));
    let checkout = Checkout::new(Shop::from_publisher(
        Arc::new(MockPurchasePublisher::new()),
        query,
    ));
    assert_eq!(
        checkout.is_known("u1").await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

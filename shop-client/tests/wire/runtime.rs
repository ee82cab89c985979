//! Programs without a runtime.

use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt, stream};
use shop_client::{BlockingFuture as _, BlockingStream as _, ErrorKind, Outcome, ShopClient};
use tokio::runtime::Runtime;

use crate::shop::{Shop, ada, served};

#[test]
fn outside_of_a_runtime_a_call_is_an_error() {
    let client = ShopClient::builder("http://localhost:1").build().unwrap();
    let errors = [
        client.buy(ada("1")).now_or_never().unwrap().unwrap_err(),
        client.check().now_or_never().unwrap().unwrap_err(),
        client
            .user("u1")
            .summary()
            .now_or_never()
            .unwrap()
            .unwrap_err(),
        client
            .user("u1")
            .purchases()
            .try_next()
            .now_or_never()
            .unwrap()
            .unwrap_err(),
        client
            .close(Duration::ZERO)
            .now_or_never()
            .unwrap()
            .unwrap_err(),
    ];
    for error in errors {
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Unsupported, Outcome::NotApplied)
        );
        assert!(error.message().contains("runtime"), "{error}");
    }
}

#[test]
fn blocking_calls_buy_and_list() {
    let services = Runtime::new().unwrap();
    let shop = Shop::new();
    let url = services.block_on(async {
        shop.ingest();
        served(shop.router.clone()).await
    });
    let client = ShopClient::builder(url).build().unwrap();
    client.check().wait().unwrap();
    let bought = client.buy(ada("29.99")).wait().unwrap();
    let user = client.user("u1").wait_for(&bought.receipt);
    assert_eq!(user.summary().wait().unwrap().count, 1);
    let listed: Vec<_> = user.purchases().wait_each().map(Result::unwrap).collect();
    assert_eq!(listed, std::slice::from_ref(&bought.purchase));
    assert_eq!(user.oldest_first().page().wait().unwrap().items, listed);
    assert_eq!(
        client.get(&bought.purchase.id).wait().unwrap(),
        Some(bought.purchase)
    );
    let orders = stream::iter((0..20).map(|_| ada("1")));
    assert_eq!(
        client
            .buy_all(orders, 4)
            .wait_each()
            .filter(Result::is_ok)
            .count(),
        20
    );
    // Used within another runtime.
    services.block_on(async move {
        client.check().wait().unwrap();
        client.close(Duration::from_secs(10)).wait().unwrap();
        assert_eq!(
            client.buy(ada("1")).wait().unwrap_err().kind(),
            ErrorKind::Closed
        );
    });
}

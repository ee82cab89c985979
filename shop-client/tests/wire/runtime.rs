//! Programs without a runtime.

use futures_util::FutureExt;
use shop_client::{BlockingFuture as _, BlockingStream as _};
use tokio::runtime::Runtime;

use crate::prelude::*;

#[test]
fn outside_of_a_runtime_a_call_is_an_error() {
    let client = ShopClient::builder("http://localhost:1").build().unwrap();
    let write = client
        .shop()
        .buy(ada("1"))
        .now_or_never()
        .unwrap()
        .map(drop);
    let read = client
        .shop()
        .user("u1")
        .summary()
        .now_or_never()
        .unwrap()
        .map(drop);
    let mut listing = client.shop().user("u1").purchases();
    let stream = listing.try_next().now_or_never().unwrap().map(drop);
    let close = client.close(Duration::ZERO).now_or_never().unwrap();
    for result in [write, read, stream, close] {
        let error = result.unwrap_err();
        assert_fails(&error, ErrorKind::Unsupported, Outcome::NotApplied);
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
    let bought = client.shop().buy(ada("29.99")).wait().unwrap();
    let user = client.shop().user("u1").wait_for(&bought.receipt);
    let listed: Vec<_> = user.purchases().wait_each().map(Result::unwrap).collect();
    assert_eq!(listed, [bought.purchase]);
    let orders = stream::iter((0..20).map(|_| ada("1")));
    let results = client.shop().buy_all(orders, 4).wait_each();
    assert_eq!(results.filter(Result::is_ok).count(), 20);
    // Used within another runtime.
    services.block_on(async move {
        client.check().wait().unwrap();
        client.close(Duration::from_secs(10)).wait().unwrap();
        let error = client.shop().buy(ada("1")).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

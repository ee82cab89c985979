//! Retries and time-outs of single calls, observers, compression and proxies.

use std::sync::{Arc, Mutex};

use axum::Router;
use shop_client::reqwest::Proxy;
use shop_client::shop_core::ports::PurchaseStore as _;
use shop_client::{CallEvent, CallState};
use tower_http::compression::CompressionLayer;

use crate::prelude::*;
use crate::reading::purchase;

#[tokio::test(start_paused = true)]
async fn retries_of_a_clone_share_the_budget() {
    let script = Script::new((0..100).map(|_| Turn::Say(refusal(503, &[], ""))));
    // One retry for the client and all its clones.
    let retries = RetryPolicy::default().budget(0, 1.0);
    let client = script.builder().await.retries(retries).build().unwrap();
    let never = client.with_retries(RetryPolicy::none());
    let patient = never.with_retries(RetryPolicy::default().budget(1_000, 1_000.0));
    for (client, attempts) in [(&never, 1), (&patient, 2), (&client, 2)] {
        assert_eq!(
            client.shop().buy(ada("1")).await.unwrap_err().attempts(),
            attempts
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_cuts_off_an_attempt() {
    let client = Script::new([Turn::Lose]).client().await;
    let start = Instant::now();
    let hurried = client.with_timeout(Duration::from_secs(2));
    let error = hurried.shop().buy(ada("1")).await.unwrap_err();
    assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::Unknown);
    assert!(error.attempts() == 1 && start.elapsed() <= Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_reported_with_a_purchase_and_to_the_observer() {
    let script = Script::new([Turn::Say(refusal(503, &[], "")), Turn::Lose]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let reported = Arc::clone(&events);
    let observer = move |event: &CallEvent<'_>| {
        let state = match event.state {
            CallState::Succeeded => "succeeded".to_owned(),
            CallState::Retrying { error, .. } => format!("retrying: {:?}", error.kind()),
            CallState::Failed(error) => format!("failed: {:?}", error.kind()),
            _ => unreachable!(),
        };
        let text = format!("{} {} {state}", event.call, event.attempts);
        reported
            .lock()
            .unwrap()
            .push((text, event.duration.as_secs()));
        assert_ne!(event.call, "check", "a panic does not end the call");
    };
    let client = script.builder().await.observer(observer).build().unwrap();
    assert_eq!(client.shop().buy(ada("29.99")).await.unwrap().attempts, 3);
    client.close(Duration::ZERO).await.unwrap();
    client.shop().buy(ada("29.99")).await.unwrap_err();
    client.check().await.unwrap();

    let events = events.lock().unwrap();
    let states = events.iter().map(|(text, _)| text.as_str());
    let expected = [
        "buy 1 retrying: Unavailable",
        "buy 2 retrying: DeadlineExceeded",
        "buy 3 succeeded",
        "buy 0 failed: Closed",
        "check 1 succeeded",
    ];
    assert!(states.eq(expected), "{events:?}");
    assert!(events[2].1 >= 7, "with the lost attempt: {events:?}");
}

#[tokio::test]
async fn responses_are_compressed_unless_that_is_disabled() {
    let shop = Shop::new();
    let all: Vec<_> = (0..1_000).map(purchase).collect();
    shop.store.insert(all.as_slice().into()).await.unwrap();
    for (gzip, accepted) in [(true, "gzip"), (false, "")] {
        let script = Script::new([]);
        let builder = script.before(shop.router.clone()).await;
        let user = builder.gzip(gzip).build().unwrap().shop().user("u1");
        let listed: Vec<_> = user.oldest_first().purchases().try_collect().await.unwrap();
        assert_eq!(listed, all);
        assert_eq!(script.headers("accept-encoding")[0], accepted);
    }
}

#[tokio::test]
async fn a_compressed_response_is_limited_by_its_full_size() {
    let endless = Router::new()
        .fallback(|| async { " ".repeat(64 << 20) })
        .layer(CompressionLayer::new());
    let builder = ShopClient::builder(served(endless).await);
    // A busy machine takes seconds for so much.
    let client = builder
        .query_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let error = client.shop().get(&purchase(1).id).await.unwrap_err();
    assert_eq!(error.message(), "the response is too large");
}

#[tokio::test]
async fn a_chosen_proxy_is_used() {
    let proxy = served(Shop::new().router).await;
    let builder = ShopClient::builder("http://shop.invalid").proxy(Proxy::all(proxy).unwrap());
    builder
        .build()
        .unwrap()
        .shop()
        .buy(ada("29.99"))
        .await
        .unwrap();
}

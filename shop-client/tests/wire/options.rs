//! Retries and time-outs of single calls, observers, compression and proxies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use futures_util::TryStreamExt;
use shop_client::reqwest::Proxy;
use shop_client::shop_core::ports::PurchaseStore;
use shop_client::{CallEvent, CallState, ErrorKind, Outcome, RetryPolicy, ShopClient};
use tokio::time::Instant;
use tower_http::compression::CompressionLayer;

use crate::reading::purchase;
use crate::shop::{Script, Shop, Turn, ada, refusal, served};

#[tokio::test(start_paused = true)]
async fn retries_of_a_clone_share_the_budget() {
    let script = Script::responding(StatusCode::SERVICE_UNAVAILABLE, 1_000);
    let builder = script.builder().await;
    // One retry for the client and all its clones.
    let client = builder
        .retries(RetryPolicy::default().budget(0, 1.0))
        .build()
        .unwrap();
    let never = client.with_retries(RetryPolicy::none());
    assert_eq!(never.buy(ada("1")).await.unwrap_err().attempts(), 1);
    let patient = never.with_retries(RetryPolicy::default().budget(1_000, 1_000.0));
    assert_eq!(patient.buy(ada("1")).await.unwrap_err().attempts(), 2);
    assert_eq!(client.buy(ada("1")).await.unwrap_err().attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_a_call_with_its_retries() {
    for (turns, attempts) in [(1, 1), (0, 0)] {
        let lost = (0..turns).map(|_| Turn::Lose);
        let refused = (0..100).map(|_| Turn::Say(refusal(503, &[], "")));
        let script = Script::new(lost.chain(refused));
        let client = script.client().await;
        let start = Instant::now();
        let error = client
            .with_timeout(Duration::from_secs(2))
            .buy(ada("1"))
            .await
            .unwrap_err();
        assert!(
            start.elapsed() <= Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        if attempts == 0 {
            assert!(error.attempts() > 1, "{error}");
        } else {
            assert_eq!(
                (error.kind(), error.attempts()),
                (ErrorKind::DeadlineExceeded, attempts)
            );
            assert_eq!(error.outcome(), Outcome::Unknown);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_reported_with_a_purchase_and_to_the_observer() {
    let script = Script::new([Turn::Say(refusal(503, &[], "")), Turn::Lose]);
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let observer = move |event: &CallEvent<'_>| {
        let state = match event.state {
            CallState::Succeeded => "succeeded".to_owned(),
            CallState::Retrying { error, .. } => format!("{:?}", error.kind()),
            CallState::Failed(error) => format!("failed: {:?}", error.kind()),
            _ => unreachable!(),
        };
        seen.lock()
            .unwrap()
            .push((event.call, event.attempts, event.duration.as_secs(), state));
        assert_ne!(event.call, "check", "a panic does not end the call");
    };
    let client = script.builder().await.observer(observer).build().unwrap();
    let bought = client.buy(ada("29.99")).await.unwrap();
    assert_eq!(bought.attempts, 3);
    client.close(Duration::ZERO).await.unwrap();
    client.buy(ada("29.99")).await.unwrap_err();
    client.check().await.unwrap();
    let events = events.lock().unwrap();
    let states: Vec<_> = events
        .iter()
        .map(|(call, attempts, _, state)| (*call, *attempts, state.as_str()))
        .collect();
    assert_eq!(
        states,
        [
            ("buy", 1, "Unavailable"),
            ("buy", 2, "DeadlineExceeded"),
            ("buy", 3, "succeeded"),
            ("buy", 0, "failed: Closed"),
            ("check", 1, "succeeded"),
        ]
    );
    assert!(events[2].2 >= 7, "with the lost attempt: {events:?}");
}

#[tokio::test]
async fn responses_are_compressed_unless_that_is_disabled() {
    let shop = Shop::new();
    let all: Vec<_> = (0..1_000).map(purchase).collect();
    shop.store.insert(all.as_slice().into()).await.unwrap();
    for (gzip, accepted) in [(true, "gzip"), (false, "")] {
        let script = Script::new([]);
        let client = script
            .before(shop.router.clone())
            .await
            .gzip(gzip)
            .build()
            .unwrap();
        let user = client.user("u1").oldest_first();
        assert_eq!(user.purchases().try_collect::<Vec<_>>().await.unwrap(), all);
        assert_eq!(script.seen()[0].header("accept-encoding"), accepted);
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
    let error = client.get(&purchase(1).id).await.unwrap_err();
    assert_eq!(error.message(), "the response is too large");
}

#[tokio::test]
async fn a_chosen_proxy_is_used() {
    let proxy = served(Shop::new().router).await;
    let builder = ShopClient::builder("http://shop.invalid").proxy(Proxy::all(proxy).unwrap());
    builder.build().unwrap().buy(ada("29.99")).await.unwrap();
}

//! Buying a whole stream, and the limit of writes in flight.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shop_client::reqwest::Method;

use crate::prelude::*;

fn order(number: usize) -> NewPurchase {
    let order = ada(&number.to_string());
    order.with_key(format!("order-{number}")).unwrap()
}

#[tokio::test]
async fn buy_all_polls_the_stream_only_as_results_are_read() {
    // The service never responds.
    let client = Script::new((0..100).map(|_| Turn::Lose)).client().await;
    for (in_flight, expected) in [(7, 7), (1, 1), (0, 1)] {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let orders = stream::iter((0..50).map(order)).inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut results = pin!(client.shop().buy_all(orders, in_flight));
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        assert!(poll!(results.next()).is_pending());
        assert_eq!(taken.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn abandoned_buys_count_towards_max_in_flight() {
    // The first three never get a response.
    let script = Script::new((0..3).map(|_| Turn::Lose));
    let builder = script.builder().await.retries(RetryPolicy::none());
    let client = builder.max_in_flight(3).build().unwrap();
    for number in 0..3 {
        assert!(poll!(pin!(client.shop().buy(order(number)))).is_pending());
    }

    let hurried = client.clone().with_timeout(Duration::from_millis(10));
    let error = hurried.shop().buy(order(3)).await.unwrap_err();
    assert_fails(&error, ErrorKind::Overloaded, Outcome::NotApplied);
    assert!(error.is_retryable() && error.attempts() == 0);
    assert_eq!(error.idempotency_key().unwrap().as_str(), "order-3");
    let raw = hurried.request(Method::POST, "v1/purchases").send().await;
    assert_eq!(raw.unwrap_err().kind(), ErrorKind::Overloaded);

    // They have timed out.
    tokio::time::sleep(Duration::from_secs(8)).await;
    client.shop().buy(order(100)).await.unwrap();
    assert_eq!(script.seen().len(), 4);
    // More buys than permits wait, and succeed.
    let answers = client.shop().buy_all(stream::iter((0..50).map(order)), 20);
    assert!(answers.all(async |result| result.is_ok()).await);
    // A limit of zero would make the client useless.
    let builder = script.builder().await.max_in_flight(0);
    builder.build().unwrap().shop().buy(order(0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_ends_the_wait_for_a_permit() {
    let script = Script::new([Turn::Lose]);
    let client = script.builder().await.max_in_flight(1).build().unwrap();
    let shop = client.shop();
    assert!(poll!(pin!(shop.buy(order(0)))).is_pending());
    let start = Instant::now();
    let mut waiting = pin!(shop.buy(order(1)));
    assert!(poll!(&mut waiting).is_pending());
    let _one_in_flight = shop.close(Duration::ZERO).await;
    assert_fails(
        &waiting.await.unwrap_err(),
        ErrorKind::Closed,
        Outcome::NotApplied,
    );
    assert!(start.elapsed() < Duration::from_millis(10));
}

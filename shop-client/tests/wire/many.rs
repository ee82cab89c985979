//! Buying a whole stream.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, poll, stream};
use shop_client::reqwest::Method;
use shop_client::{ErrorKind, NewPurchase, Outcome, RetryPolicy};
use shop_core::conformance::assert_fails;
use tokio::time::Instant;

use crate::shop::{Script, Shop, Turn, ada, refusal};

fn order(number: usize) -> NewPurchase {
    ada(&number.to_string())
        .with_key(format!("order-{number}"))
        .unwrap()
}

#[tokio::test]
async fn buy_all_keeps_the_order_and_continues_after_an_error() {
    let shop = Shop::new();
    let script = Script::new((0..100).map(|number| match number {
        50 => Turn::Say(refusal(422, &[], "")),
        _ => Turn::Pass,
    }));
    let client = script.client_of(shop.router).await;
    let answers: Vec<_> = client
        .buy_all(stream::iter((0..100).map(order)), 8)
        .collect()
        .await;
    assert_eq!(answers.len(), 100);
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 1);
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Ok(bought) => assert_eq!(bought.purchase.price.to_string(), number.to_string()),
            Err(error) => {
                assert_eq!(
                    error.idempotency_key().unwrap().as_str(),
                    format!("order-{number}")
                );
            }
        }
    }
}

#[tokio::test]
async fn buy_all_polls_the_stream_only_as_results_are_read() {
    // The service never responds.
    let script = Script::new((0..100).map(|_| Turn::Lose));
    let client = script.client().await;
    for (in_flight, expected) in [(7, 7), (1, 1), (0, 1)] {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let orders = stream::iter((0..50).map(order)).inspect(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let mut answers = pin!(client.buy_all(orders, in_flight));
        assert_eq!(taken.load(Ordering::Relaxed), 0);
        assert!(poll!(answers.next()).is_pending());
        assert_eq!(taken.load(Ordering::Relaxed), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn abandoned_buys_count_towards_max_in_flight() {
    // The first three never get a response.
    let script = Script::new((0..3).map(|_| Turn::Lose));
    let client = script
        .builder()
        .await
        .retries(RetryPolicy::none())
        .max_in_flight(3)
        .build()
        .unwrap();
    for number in 0..3 {
        assert!(poll!(pin!(client.buy(order(number)))).is_pending());
    }
    let other = client.clone();
    let hurried = other.with_timeout(Duration::from_millis(10));
    for number in 3..100 {
        let error = hurried.buy(order(number)).await.unwrap_err();
        assert_fails(&error, ErrorKind::Overloaded, Outcome::NotApplied);
        assert!(error.is_retryable() && error.attempts() == 0);
        assert_eq!(
            error.idempotency_key().unwrap().as_str(),
            format!("order-{number}")
        );
    }
    let raw = hurried.request(Method::POST, "v1/purchases").send().await;
    assert_eq!(raw.unwrap_err().kind(), ErrorKind::Overloaded);
    while script.seen().len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // They have timed out.
    tokio::time::sleep(Duration::from_secs(8)).await;
    client.buy(order(100)).await.unwrap();
    assert_eq!(script.seen().len(), 4);
    // A stream may use all of it.
    let answers: Vec<_> = client
        .buy_all(stream::iter((0..50).map(order)), 3)
        .collect()
        .await;
    assert!(answers.iter().all(Result::is_ok));
    // A limit of zero would make the client useless.
    let narrow = Script::new([])
        .builder()
        .await
        .max_in_flight(0)
        .build()
        .unwrap();
    narrow.buy(order(0)).await.unwrap();
}

#[tokio::test]
async fn more_buys_than_permits_wait_and_succeed() {
    let client = Script::new([])
        .builder()
        .await
        .max_in_flight(100)
        .build()
        .unwrap();
    // The time in which a busy machine answers all of them.
    let client = client.with_timeout(Duration::from_secs(300));
    let bought = join_all((0..1_500).map(|number| client.buy(order(number)))).await;
    assert!(
        bought.iter().all(Result::is_ok),
        "{:?}",
        bought.iter().find(|bought| bought.is_err())
    );
}

#[tokio::test(start_paused = true)]
async fn close_ends_the_wait_for_a_permit() {
    let script = Script::new([Turn::Lose]);
    let client = script.builder().await.max_in_flight(1).build().unwrap();
    assert!(poll!(pin!(client.buy(order(0)))).is_pending());
    let waiting = client.buy(order(1));
    let start = Instant::now();
    let mut waiting = pin!(waiting);
    assert!(poll!(&mut waiting).is_pending());
    let _one_in_flight = client.close(Duration::ZERO).await;
    for error in [
        waiting.await.unwrap_err(),
        client.buy(order(2)).await.unwrap_err(),
    ] {
        assert_fails(&error, ErrorKind::Closed, Outcome::NotApplied);
    }
    assert!(start.elapsed() < Duration::from_millis(10));
}

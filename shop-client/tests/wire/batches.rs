//! Many purchases in one request: how a backlog is divided, and what is sent again. The kit over HTTP
//! proves that each purchase has its result.

use crate::prelude::*;

/// Purchases of one user, with the prices 0, 1, 2 and so on.
fn orders(count: usize) -> Vec<NewPurchase> {
    (0..count).map(|number| ada(&number.to_string())).collect()
}

/// The number of requests with many purchases, and with one.
fn requests(script: &Script) -> (usize, usize) {
    let seen = script.seen();
    let batches = seen.iter().filter(|seen| seen.path.ends_with(":batch"));
    let batches = batches.count();
    (batches, seen.len() - batches)
}

#[tokio::test]
async fn a_backlog_is_sent_in_few_requests() {
    let script = Script::default();
    let client = script.client().await;
    // Without a backlog there is nothing to wait for.
    for (count, expected) in [(2_000, (8, 0)), (15, (8, 15))] {
        let results: Vec<_> = client
            .shop()
            .buy_all(stream::iter(orders(count)), 500)
            .collect()
            .await;
        assert!(results.len() == count && results.iter().all(Result::is_ok));
        assert_eq!(requests(&script), expected);
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved() {
    let mut options = HttpOptions::default();
    options.max_batch_purchases = 100;
    let shop = Shop::with(options, &Faults::new());
    let script = Script::default();
    let client = script.client_of(shop.router).await;
    let results = client.shop().buy_many(orders(1_000)).await;
    for (number, bought) in results.into_iter().enumerate() {
        let bought = bought.unwrap();
        assert_eq!(bought.purchase.price.to_string(), number.to_string());
        // All, once, in order: those of one user are in one partition.
        assert_eq!(bought.receipt.position.unwrap().offset, number as u64);
    }
    assert_eq!(requests(&script), (31, 0), "15 were refused");
}

#[tokio::test]
async fn a_purchase_that_is_too_large_fails_alone() {
    let mut options = HttpOptions::default();
    options.max_batch_bytes = 400;
    options.max_body_bytes = 200;
    let shop = Shop::with(options, &Faults::new());
    let client = Script::default().client_of(shop.router).await;
    let mut orders = orders(20);
    orders[2].key = Some("x".repeat(255).parse().unwrap());
    orders[2].user_name = "y".repeat(250).parse().unwrap();
    let results: Vec<_> = client
        .shop()
        .buy_all(stream::iter(orders), 100)
        .collect()
        .await;
    for (number, result) in results.into_iter().enumerate() {
        let kind = result.err().map(|error| error.kind());
        let too_large = (number == 2).then_some(ErrorKind::TooLarge);
        assert_eq!(kind, too_large, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_unknown_purchases_are_sent_again() {
    let faults = Faults::new();
    let shop = Shop::with(HttpOptions::default(), &faults);
    let script = Script::default();
    let client = script.client_of(shop.router.clone()).await;
    // The log takes every other purchase.
    faults.once(Call::Publish, Fault::PartialInsert);
    let mut batch = orders(100);
    batch[7] = ada("7").with_timestamp("2999-01-01T00:00:00Z".parse().unwrap());
    let mut results = client.shop().buy_many(batch).await;

    let rejected = results.remove(7).unwrap_err();
    assert_fails(&rejected, ErrorKind::Invalid, Outcome::NotApplied);
    assert_eq!(rejected.status(), Some(422));
    let attempts: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().unwrap().attempts)
        .collect();
    let count = |expected| {
        attempts
            .iter()
            .filter(|attempts| **attempts == expected)
            .count()
    };
    assert_eq!((count(1), count(2)), (50, 49));
    let lengths = script.headers("content-length");
    let [first, second] = [0, 1].map(|index| lengths[index].parse::<usize>().unwrap());
    assert!(second < first * 6 / 10, "{lengths:?}");
    let mark = client.shop().buy(ada("1")).await.unwrap();
    assert_eq!(
        mark.receipt.position.unwrap().offset,
        99,
        "each is recorded once"
    );
}

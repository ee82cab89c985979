//! Many purchases in one request: services without batches, rejected and lost batches.

use futures_util::{StreamExt, stream};
use shop_client::shop_core::conformance::fault::{Call, Fault, Faults};
use shop_client::{
    Error, ErrorKind, HttpErrorExt, NewPurchase, Outcome, PublishedPurchase, Receipt, Result,
    RetryPolicy, ShopClient,
};
use shop_http::HttpOptions;

use crate::shop::{Script, Shop, Turn, ada, refusal};

const BATCH: &str = "/v1/purchases:batch";

/// Purchases of one user, with the prices 0, 1, 2 and so on.
fn orders(count: usize) -> Vec<NewPurchase> {
    (0..count).map(|number| ada(&number.to_string())).collect()
}

/// The receipts of `results`, which must be those of [`orders`] in their order.
fn receipts(results: Vec<Result<PublishedPurchase>>) -> Vec<Receipt> {
    let receipt = |(number, result): (usize, Result<PublishedPurchase>)| {
        let published = result.unwrap();
        assert_eq!(published.purchase.price.to_string(), number.to_string());
        published.receipt
    };
    results.into_iter().enumerate().map(receipt).collect()
}

/// The offsets of `receipts`: those of one user are in one partition.
fn offsets(receipts: &[Receipt]) -> Vec<u64> {
    receipts
        .iter()
        .map(|receipt| receipt.position.as_ref().unwrap().offset)
        .collect()
}

/// The number of requests with many purchases, and with one.
fn requests(script: &Script) -> (usize, usize) {
    let seen = script.seen();
    let batches = seen.iter().filter(|seen| seen.path == BATCH).count();
    (batches, seen.len() - batches)
}

/// The number of purchases that are stored, with `last` among them.
async fn stored(client: &ShopClient, last: &Receipt) -> u64 {
    client
        .user("u1")
        .wait_for(last)
        .summary()
        .await
        .unwrap()
        .count
}

#[tokio::test]
async fn a_backlog_is_sent_in_few_requests() {
    let shop = Shop::new();
    let script = Script::default();
    let client = script.client_of(shop.router).await;
    let results = client
        .buy_all(stream::iter(orders(2_000)), 500)
        .collect()
        .await;
    assert_eq!(receipts(results).len(), 2_000);
    assert_eq!(requests(&script), (8, 0));
    // Without a backlog there is nothing to wait for.
    let alone = stream::iter(orders(15)).collect::<Vec<_>>().await;
    let results = client.buy_all(stream::iter(alone), 500).collect().await;
    assert_eq!(receipts(results).len(), 15);
    assert_eq!(requests(&script), (8, 15));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved() {
    let mut options = HttpOptions::default();
    options.max_batch_purchases = 100;
    let shop = Shop::with(options, &Faults::new());
    let script = Script::default();
    let client = script.client_of(shop.router).await;
    let receipts = receipts(client.buy_many(orders(1_000)).await);
    assert_eq!(
        offsets(&receipts),
        (0..1_000).collect::<Vec<_>>(),
        "all, once, in order"
    );
    assert_eq!(requests(&script), (31, 0), "15 were refused");
}

#[tokio::test]
async fn a_purchase_that_is_too_large_fails_alone() {
    let mut options = HttpOptions::default();
    options.max_batch_bytes = 400;
    options.max_body_bytes = 200;
    let shop = Shop::with(options, &Faults::new());
    let script = Script::default();
    let client = script.client_of(shop.router).await;
    let mut orders = orders(4);
    orders[2].key = Some("x".repeat(255).parse().unwrap());
    orders[2].user_name = "y".repeat(250).parse().unwrap();
    let results = client.buy_many(orders).await;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(Error::kind))
        .collect();
    assert_eq!(kinds, [None, None, Some(ErrorKind::TooLarge), None]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_is_retried_without_duplicates() {
    for lost in [Turn::Lose, Turn::Cut] {
        let shop = Shop::new();
        let script = Script::new([lost]);
        let client = script.client_of(shop.router.clone()).await;
        let bought = client.buy_many(orders(100)).await;
        assert!(
            bought
                .iter()
                .all(|result| result.as_ref().is_ok_and(|bought| bought.attempts == 2))
        );
        assert_eq!(offsets(&receipts(bought)), (0..100).collect::<Vec<_>>());
        assert_eq!(requests(&script), (2, 0));
        shop.ingest();
        let mark = client.buy(ada("1")).await.unwrap();
        assert_eq!(
            mark.receipt.position.as_ref().unwrap().offset,
            100,
            "the log has each of them once"
        );
        assert_eq!(stored(&client, &mark.receipt).await, 101);
    }
}

#[tokio::test(start_paused = true)]
async fn only_unknown_purchases_are_repeated() {
    let faults = Faults::new();
    let shop = Shop::with(HttpOptions::default(), &faults);
    let script = Script::default();
    let client = script.client_of(shop.router.clone()).await;
    faults.once(Call::Publish, Fault::PartialInsert);
    let mut batch = orders(100);
    batch[7] = ada("7").with_timestamp("2999-01-01T00:00:00Z".parse().unwrap());
    let mut results = client.buy_many(batch).await;
    let rejected = results.remove(7).unwrap_err();
    assert_eq!(
        (rejected.kind(), rejected.outcome()),
        (ErrorKind::Invalid, Outcome::NotApplied)
    );
    assert_eq!(rejected.status(), Some(422));
    let attempts: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().unwrap().attempts)
        .collect();
    assert_eq!(
        attempts.iter().filter(|attempts| **attempts == 1).count(),
        50
    );
    assert_eq!(
        attempts.iter().filter(|attempts| **attempts == 2).count(),
        49
    );
    let length = |index: usize| {
        script.seen()[index]
            .header("content-length")
            .parse::<usize>()
            .unwrap()
    };
    assert!(
        length(1) < length(0) * 6 / 10,
        "{} of {}",
        length(1),
        length(0)
    );
    let mark = client.buy(ada("1")).await.unwrap();
    assert_eq!(mark.receipt.position.unwrap().offset, 99);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_purchase_has_a_key_to_retry_with() {
    let faults = Faults::new();
    let shop = Shop::with(HttpOptions::default(), &faults);
    let script = Script::default();
    let client = script
        .before(shop.router.clone())
        .await
        .retries(RetryPolicy::none())
        .build()
        .unwrap();
    faults.once(Call::Publish, Fault::LoseAnswer);
    let results = client.buy_many(orders(20)).await;
    let again = results.into_iter().enumerate().map(|(number, result)| {
        let error = result.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        ada(&number.to_string())
            .with_key(error.idempotency_key().unwrap())
            .unwrap()
    });
    shop.ingest();
    let receipts = receipts(client.buy_many(again.collect()).await);
    assert_eq!(stored(&client, receipts.last().unwrap()).await, 20);
}

#[tokio::test]
async fn an_unreadable_response_leaves_every_purchase_unknown() {
    let bodies = [
        "",
        "{}",
        "{\"line\":0,\"status\":\"acknowledged\"}\n",
        "[]",
        "<html>",
    ];
    for body in bodies {
        let script = Script::new([Turn::Say(refusal(
            200,
            &[("content-type", "application/x-ndjson")],
            body,
        ))]);
        let client = script
            .builder()
            .await
            .retries(RetryPolicy::none())
            .build()
            .unwrap();
        for result in client.buy_many(orders(3)).await {
            let error = result.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Unknown, "{body:?}: {error}");
            assert!(error.idempotency_key().is_some());
        }
    }
}

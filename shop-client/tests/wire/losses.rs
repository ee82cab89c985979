//! Lost requests and responses: a write is sent again with its key, and is recorded once. Time is
//! paused: it advances only while all tasks wait.

use crate::prelude::*;

/// The ways in which an attempt fails although its write may be recorded.
const LOSSES: [&str; 5] = [
    "the service is overloaded",
    "a proxy has lost the service",
    "the response never arrives",
    "the connection breaks after the head",
    "the connection breaks within the body",
];

fn turn_of(loss: &str) -> Turn {
    match loss {
        "the service is overloaded" => Turn::Say(refusal(503, &[], "")),
        "a proxy has lost the service" => Turn::Say(refusal(502, &[], "")),
        "the response never arrives" => Turn::Lose,
        "the connection breaks after the head" => Turn::CutAfter(0),
        "the connection breaks within the body" => Turn::CutAfter(1),
        _ => unreachable!("{loss}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_write_is_sent_again_and_recorded_once() {
    for loss in LOSSES {
        let shop = Shop::new();
        shop.ingest();
        let script = Script::new([turn_of(loss), turn_of(loss)]);
        let client = script.client_of(shop.router.clone()).await;

        let bought = client.shop().buy(ada("29.99")).await.unwrap();
        assert_eq!((bought.attempts, script.seen().len()), (3, 3), "{loss}");
        for header in ["idempotency-key", "x-request-id"] {
            let values = script.headers(header);
            assert!(!values[0].is_empty() && values.iter().all(|value| *value == values[0]));
        }

        script.then(1, || turn_of(loss));
        for bought in client.shop().buy_many(vec![ada("1"), ada("2")]).await {
            assert_eq!(bought.unwrap().attempts, 2, "{loss}");
        }

        let listing = client.shop().user("u1").wait_for(&bought.receipt);
        assert!(listing.summary().await.unwrap().count > 0, "{loss}");
        // The refunded purchase is found by the first request.
        script.then(1, || Turn::Pass);
        script.then(1, || turn_of(loss));
        let amount = Some("9.99".parse().unwrap());
        let reason = || Some("broken".parse().unwrap());
        let refund = client
            .shop()
            .refund(bought.purchase.id, amount, reason())
            .await;
        let refund = refund.unwrap();
        assert_eq!(refund.attempts, 2, "{loss}");
        assert_eq!(refund.purchase.details.reason, reason());
        // The port sends it as a refund, too.
        let published = client.publish(&refund.purchase).await.unwrap();
        assert_eq!(published.id, refund.purchase.id);

        let listing = client.shop().user("u1").wait_for(&refund.receipt);
        let prices: Vec<_> = listing
            .oldest_first()
            .purchases()
            .map_ok(|one| one.price.to_string())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(prices, ["29.99", "1", "2", "-9.99"], "{loss}");
    }
}

/// Without its key, the repeated call would be another purchase.
#[tokio::test(start_paused = true)]
async fn the_key_in_an_error_repeats_the_write() {
    let shop = Shop::new();
    shop.ingest();
    let script = Script::new([Turn::Lose, Turn::Lose]);
    let builder = script.before(shop.router.clone()).await;
    let client = builder.retries(RetryPolicy::none()).build().unwrap();
    let orders = [ada("1"), ada("2"), ada("3")];

    let mut errors = vec![client.shop().buy(orders[0].clone()).await.unwrap_err()];
    let batch = client.shop().buy_many(orders[1..].to_vec()).await;
    errors.extend(batch.into_iter().map(|bought| bought.unwrap_err()));

    let mut last = None;
    for (order, error) in orders.into_iter().zip(&errors) {
        assert_fails(error, ErrorKind::DeadlineExceeded, Outcome::Unknown);
        assert!(!error.is_retryable() && error.to_string().contains("idempotency_key"));
        let key = error.idempotency_key().unwrap().clone();
        let bought = client
            .shop()
            .buy(order.with_key(key.clone()).unwrap())
            .await
            .unwrap();
        assert_eq!(
            (bought.replayed, bought.purchase.id.to_string()),
            (true, key.to_string())
        );
        last = Some(bought.receipt);
    }
    let listing = client.shop().user("u1").wait_for(last.as_ref().unwrap());
    assert_eq!(listing.summary().await.unwrap().count, 3);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_buy_is_still_sent() {
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let shop = script.client().await.shop();
    let mut buying = Box::pin(shop.buy(ada("29.99")));
    assert!(poll!(&mut buying).is_pending());
    drop(buying);

    shop.close(Duration::from_secs(30)).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    let error = shop.buy(ada("1")).await.unwrap_err();
    assert_fails(&error, ErrorKind::Closed, Outcome::NotApplied);
}

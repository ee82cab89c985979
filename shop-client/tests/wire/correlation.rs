//! Request ids and trace contexts, sent and logged.

use std::sync::Arc;

use shop_client::shop_core::{Clock, SystemClock};
use shop_client::{
    HttpErrorExt, NewPurchase, PurchaseSink, RequestContext, RetryPolicy, ShopClient,
};

use crate::shop::{Script, Turn, ada, refusal};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn context(id: &str) -> RequestContext {
    RequestContext::new(Some(id.to_owned()), Some(TRACEPARENT.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn all_attempts_of_a_call_have_one_request_id() {
    let script = Script::new([
        Turn::Say(refusal(503, &[], "")),
        Turn::Pass,
        Turn::Say(refusal(400, &[], "")),
    ]);
    let client = script.client().await;
    client.buy(ada("1")).await.unwrap();
    let error = client.buy(ada("1")).await.unwrap_err();
    let ids: Vec<_> = script
        .seen()
        .iter()
        .map(|seen| seen.header("x-request-id").to_owned())
        .collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[1], ids[2]);
    assert_eq!(error.request_id(), Some(ids[2].as_str()));
    // Also where nothing listens.
    let nowhere = ShopClient::builder("http://127.0.0.1:1")
        .retries(RetryPolicy::none())
        .build()
        .unwrap();
    let error = nowhere
        .with_context(context("r-1"))
        .buy(ada("1"))
        .await
        .unwrap_err();
    assert_eq!((error.request_id(), error.status()), (Some("r-1"), None));
}

#[tokio::test]
async fn queries_and_writes_belong_to_the_current_request() {
    let script = Script::new([]);
    let client = script.client().await;
    let calls = async {
        client.user("u1").summary().await.unwrap();
        client.buy(ada("1")).await.unwrap();
        client
            .with_context(context("r-2"))
            .buy(ada("1"))
            .await
            .unwrap();
    };
    Arc::new(context("r-1")).scope(calls).await;
    let ids: Vec<_> = script
        .seen()
        .iter()
        .map(|seen| seen.header("x-request-id").to_owned())
        .collect();
    assert_eq!(ids, ["r-1", "r-1", "r-2"]);
    assert!(
        script
            .seen()
            .iter()
            .all(|seen| seen.header("traceparent") == TRACEPARENT)
    );
}

#[tokio::test]
async fn a_context_is_forwarded_without_invalid_headers() {
    let script = Script::new([]);
    let client = script.client().await;
    client
        .with_context(context("r-1"))
        .user("u1")
        .summary()
        .await
        .unwrap();
    client
        .with_context(context("a\nb"))
        .buy(ada("1"))
        .await
        .unwrap();
    let new: NewPurchase = ada("1");
    let mut purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
    purchase.context = Some(Box::new(context("r-2")));
    PurchaseSink::publish(&client, &purchase).await.unwrap();
    let seen = script.seen();
    assert_eq!(
        (
            seen[0].header("x-request-id"),
            seen[0].header("traceparent")
        ),
        ("r-1", TRACEPARENT)
    );
    assert_eq!(
        (
            seen[1].header("x-request-id"),
            seen[1].header("traceparent")
        ),
        ("", TRACEPARENT)
    );
    assert_eq!(
        (
            seen[2].header("x-request-id"),
            seen[2].header("traceparent")
        ),
        ("r-2", TRACEPARENT)
    );
}

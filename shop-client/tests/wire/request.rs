//! Requests of the caller's own, the outcome of reads, and what the service marks in its responses.

use std::time::Duration;

use serde_json::{Value, json};
use shop_client::reqwest::Method;
use shop_client::shop_core::ports::PurchaseQuery;
use shop_client::{
    Error, ErrorKind, HttpErrorExt, Outcome, PageRequest, Purchase, RetryPolicy, Selector,
    Shop as AnyShop, Summary,
};
use shop_http::HttpOptions;

use crate::shop::{Script, Shop, Turn, ada, refusal};

#[tokio::test(start_paused = true)]
async fn a_raw_request_has_the_retries_the_headers_and_the_token_of_the_client() {
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let builder = script.builder().await;
    let builder = builder
        .default_header("X-Tenant", "7")
        .bearer_token("s3cret");
    let client = builder.build().unwrap();
    let request = client
        .request(Method::GET, "/v1/summary")
        .query("userid", "u 1")
        .header("x-more", "8");
    let response = request
        .header("accept", "application/json")
        .send()
        .await
        .unwrap();
    assert_eq!((response.status(), response.attempts()), (200, 2));
    assert_eq!(response.json::<Summary>().unwrap(), Summary::default());
    assert_eq!(response.headers()["content-type"], "application/json");
    for seen in script.seen() {
        assert_eq!(
            (seen.path.as_str(), seen.header("accept")),
            ("/v1/summary", "application/json")
        );
        assert_eq!((seen.header("x-tenant"), seen.header("x-more")), ("7", "8"));
        assert_eq!(seen.header("authorization"), "Bearer s3cret");
        assert_eq!(seen.header("x-request-id").len(), 36);
    }
}

#[tokio::test(start_paused = true)]
async fn a_raw_write_is_retried_with_a_key_alone() {
    let refused = || Turn::Say(refusal(503, &[], ""));
    let body = json!({"username": "ada", "userid": "u1", "price": 1});
    let script = Script::new([refused()]);
    let client = script.client().await;
    let buy = || client.request(Method::POST, "v1/purchases").json(&body);
    let error = buy().send().await.unwrap_err();
    assert_eq!((error.attempts(), error.status()), (1, Some(503)));

    let script = Script::new([refused()]);
    let client = script.client().await;
    let buy = || {
        client
            .request(Method::POST, "v1/purchases")
            .json(&body)
            .idempotency_key("order-7".parse().unwrap())
    };
    let bought = buy().send().await.unwrap();
    assert_eq!((bought.status(), bought.attempts()), (201, 2));
    assert_eq!(bought.json::<Value>().unwrap()["purchase"]["price"], 1);
    let again = buy().send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(script.seen()[2].header("idempotency-key"), "order-7");
}

#[tokio::test]
async fn a_raw_request_stays_below_the_address_and_reports_refusals() {
    let client = Script::new([]).client().await;
    let error = client
        .request(Method::GET, "v1/summary")
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (ErrorKind::Invalid, Some(422)),
        "{error}"
    );
    assert!(error.problem().is_some());
    for (path, name, value) in [
        ("v1/summary?userid=u1", "x-a", "1"),
        ("v1", "x-request-id", "1"),
        ("v1", "x-a", "\n"),
        ("v1#a", "x-a", "1"),
    ] {
        let error = client
            .request(Method::GET, path)
            .header(name, value)
            .send()
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.attempts()),
            (ErrorKind::Invalid, 0),
            "{path}: {error}"
        );
    }
    let below = shop_client::ShopClient::builder("http://localhost:1/prefix")
        .build()
        .unwrap();
    for path in ["../v1", "v1/../../v1", "%2e%2e/v1"] {
        let error = below.request(Method::GET, path).send().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{path}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_not_applied_whatever_the_backend() {
    // In process: the purchase is never stored.
    let late = |error: Error| (error.kind(), error.outcome());
    let log = Shop::new();
    let shop = AnyShop::new(log.log.sink(), log.store.clone());
    let bought = shop.buy(ada("1")).await.unwrap();
    let user = shop
        .user(bought.purchase.user_id.clone())
        .wait_for(&bought.receipt);
    let in_process = late(
        user.wait_timeout(Duration::from_secs(1))
            .summary()
            .await
            .unwrap_err(),
    );
    assert_eq!(
        in_process,
        (ErrorKind::DeadlineExceeded, Outcome::NotApplied)
    );

    let reading = |turn| async {
        let builder = Script::new([turn]).builder().await;
        let client = builder.retries(RetryPolicy::none()).build().unwrap();
        client
            .with_timeout(Duration::from_secs(1))
            .user(bought.purchase.user_id.clone())
            .summary()
            .await
    };
    assert_eq!(late(reading(Turn::Lose).await.unwrap_err()), in_process);
    for turn in [
        Turn::Cut,
        Turn::Say(refusal(500, &[], "")),
        Turn::Say(refusal(200, &[], "{")),
    ] {
        let error = reading(turn).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_says_that_a_purchase_is_pending() {
    let shop = Shop::with(HttpOptions::default(), &Default::default());
    let pending = || {
        refusal(
            200,
            &[("x-purchase-pending", "true")],
            r#"{"items":[],"next":null}"#,
        )
    };
    let client = Script::new([Turn::Say(pending())])
        .client_of(shop.router)
        .await;
    let user = Selector::User("u1".parse().unwrap());
    for is_pending in [true, false] {
        let page = client.page(&user, &PageRequest::default()).await.unwrap();
        assert_eq!(
            (page.is_pending, page.items),
            (is_pending, Vec::<Purchase>::new())
        );
    }
}

#[test]
fn the_readme_names_a_call_for_every_route() {
    let readme = include_str!("../../README.md");
    let document = include_str!("../../../docs/openapi.json");
    let document: Value = serde_json::from_str(document).unwrap();
    let routes = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods
                .as_object()
                .unwrap()
                .keys()
                .filter(|name| ["get", "post"].contains(&name.as_str()));
            methods.map(move |method| format!("`{} {path}`", method.to_uppercase()))
        });
    let unnamed: Vec<_> = routes
        .filter(|route| !readme.contains(route.as_str()))
        .collect();
    assert_eq!(unnamed, Vec::<String>::new());
    // Each has a call that knows its types.
    assert!(!readme.contains("`request"));
}

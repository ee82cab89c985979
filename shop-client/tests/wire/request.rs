//! Requests of the caller's own, and the calls that the README names.

use serde_json::{Value, json};
use shop_client::Summary;
use shop_client::reqwest::Method;

use crate::prelude::*;

#[tokio::test(start_paused = true)]
async fn a_raw_request_has_the_retries_the_headers_and_the_token_of_the_client() {
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let builder = script.builder().await;
    let builder = builder
        .default_header("X-Tenant", "7")
        .bearer_token("s3cret");
    let request = builder.build().unwrap().request(Method::GET, "/v1/summary");
    let request = request.query("userid", "u 1").header("x-more", "8");
    let request = request.header("accept", "application/json");
    let response = request.send().await.unwrap();
    assert_eq!((response.status(), response.attempts()), (200, 2));
    assert_eq!(response.json::<Summary>().unwrap(), Summary::default());
    for (name, value) in [
        ("accept", "application/json"),
        ("x-tenant", "7"),
        ("x-more", "8"),
        ("authorization", "Bearer s3cret"),
    ] {
        assert_eq!(script.headers(name), [value, value], "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_raw_write_is_retried_with_a_key_alone() {
    let script = Script::new([0, 1].map(|_| Turn::Say(refusal(503, &[], ""))));
    let client = script.client().await;
    let body = json!({"username": "ada", "userid": "u1", "price": 1});
    let buy = || client.request(Method::POST, "v1/purchases").json(&body);
    let error = buy().send().await.unwrap_err();
    assert_eq!((error.attempts(), error.status()), (1, Some(503)));

    let key = || "order-7".parse().unwrap();
    let bought = buy().idempotency_key(key()).send().await.unwrap();
    assert_eq!((bought.status(), bought.attempts()), (201, 2));
    let again = buy().idempotency_key(key()).send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
}

#[tokio::test]
async fn a_raw_request_stays_below_the_address_and_reports_refusals() {
    let client = Script::new([]).client().await;
    let request = client.request(Method::GET, "v1/summary");
    let error = request.send().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (ErrorKind::Invalid, Some(422))
    );
    assert!(error.problem().is_some());

    let below = ShopClient::builder("http://localhost:1/prefix")
        .build()
        .unwrap();
    for (path, name, value) in [
        ("v1/summary?userid=u1", "x-a", "1"),
        ("v1#a", "x-a", "1"),
        ("../v1", "x-a", "1"),
        ("v1/../../v1", "x-a", "1"),
        ("%2e%2e/v1", "x-a", "1"),
        ("v1", "x-request-id", "1"),
        ("v1", "x-a", "\n"),
    ] {
        let request = below.request(Method::GET, path).header(name, value);
        let error = request.send().await.unwrap_err();
        let found = (error.kind(), error.attempts());
        assert_eq!(found, (ErrorKind::Invalid, 0), "{path}: {error}");
    }
}

/// Text is accepted wherever a value is expected.
#[tokio::test]
async fn invalid_text_is_the_error_of_the_call() {
    let client = ShopClient::builder("http://127.0.0.1:1").build().unwrap();
    let blank_user = client.shop().user("").summary().await.map(drop);
    let blank_name = client.shop().user_with_name(" ").summary().await.map(drop);
    let price = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("-1");
    let negative_price = client.shop().buy(price).await.map(drop);
    let position = client.dead_letters().replay(["x"]).await.map(drop);
    for (result, message) in [
        (blank_user, "the user id must not be blank"),
        (blank_name, "the user name must not be blank"),
        (negative_price, "the price must not be negative"),
        (
            position,
            "the position must be topic-partition-offset, such as purchases-0-42",
        ),
    ] {
        let error = result.unwrap_err();
        let found = (error.kind(), error.message());
        assert_eq!(found, (ErrorKind::Invalid, message));
    }
}

#[test]
fn the_readme_names_a_call_for_every_route() {
    let readme = include_str!("../../README.md");
    let document: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post"] {
            let route = format!("`{} {path}`", method.to_uppercase());
            assert!(
                methods.get(method).is_none() || readme.contains(&route),
                "{route}"
            );
        }
    }
    // Each has a call that knows its types.
    assert!(!readme.contains("`request"));
}

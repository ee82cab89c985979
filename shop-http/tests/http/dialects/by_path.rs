//! Paths that tell the dialect, whatever `SHOP_DIALECT` says, and what management has of its own.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::{BUY, is, of_joe, speaking, store_away, two};
use crate::shop::{JSON, NOW, Shop, ask, get, post, request};

#[tokio::test]
async fn a_prefix_is_cut_off_and_tells_the_dialect() {
    for name in ["default", "purchase-tracking"] {
        let shop = speaking(name);
        shop.stored(&two()).await;
        let page = post(&shop.facing, "/api/buy", BUY).await;
        assert_eq!((page.status.as_u16(), &page.json()["purchase"]["timestamp"]), (201, &json!(NOW)));
        assert_eq!(get(&shop.facing, "/api/getAllUserBuys/005").await.json().as_array().unwrap().len(), 2);
        is(&get(&shop.facing, "/api/nowhere").await, 404, &json!({"error": "Not Found"}));

        let prefix = "/scalable-shop-cm-server";
        let ok = json!({"status": "Ok!", "message": "Message successfully sent to Kafka!"});
        is(&post(&shop.facing, &format!("{prefix}/buy"), BUY).await, 200, &ok);
        let listing = get(&shop.facing, &format!("{prefix}/getAllUserBuys/joe?limit=1")).await;
        assert_eq!(listing.json()["purchases"][0]["price"], "10.50");
        assert!(listing.header("link").unwrap().starts_with(&format!("<{prefix}/getAllUserBuys/joe?")));
        assert_eq!(get(&shop.facing, &format!("{prefix}/healthz")).await.text, "Success");
        for index in ["/scalable-shop-cm-server", "/scalable-shop-cm-server/", "/api", "/api/"] {
            assert!(get(&shop.facing, index).await.json().get("/healthz").is_some(), "{index}");
        }
        let error = json!({"status": "Error", "message": "Not Found"});
        is(&get(&shop.facing, &format!("{prefix}/nowhere")).await, 404, &error);
        let v1 = get(&shop.facing, &format!("{prefix}/v1/summary?userid=005")).await;
        assert_eq!(v1.text, r#"{"count":2,"total_spent":10.6}"#);
        let buys = get(&shop.management, "/scalable-shop-cm-api/buyList/joe").await.json();
        assert_eq!((&buys["status"], buys["purchases"].as_array().unwrap().len()), (&json!("Ok!"), 2));
    }
}

#[tokio::test]
async fn a_buy_list_is_by_name_and_never_missing() {
    let shop = speaking("purchase-tracking");
    shop.stored(&[of_joe(1, "10.50", 250)]).await;
    let item = json!({"_id": "00000000-0000-0000-0000-000000000001", "username": "joe", "userid": "005",
        "price": "10.50", "timestamp": "2026-01-01T00:00:00.250Z"});
    is(&get(&shop.management, "/buyList/joe").await, 200, &json!({"status": "Ok!", "purchases": [item]}));
    is(&get(&shop.management, "/buyList/foo").await, 200, &json!({"status": "Ok!", "purchases": []}));
    let error = json!({"status": "Error", "message": "Service unavailable"});
    assert_eq!(store_away(&shop, &shop.management, "/buyList/joe").await, (503, error));
}

#[tokio::test]
async fn everybodys_purchases_are_an_array_of_at_most_five_hundred() {
    let every =
        ["default", "scalable-shop", "user-buy-list", "ecommerce", "purchase-tracking", "shopping-system"];
    for name in every {
        let shop = speaking(name);
        is(&get(&shop.management, "/purchases").await, 200, &json!([]));
        shop.stored(
            &(1..=520).map(|number| of_joe(number, "1", i64::try_from(number).unwrap())).collect::<Vec<_>>(),
        )
        .await;
        let all = get(&shop.management, "/purchases").await;
        assert_eq!(all.json().as_array().unwrap().len(), 500, "{name}");
        assert!(all.json()[0]["timestamp"].as_str().unwrap().contains("00:00:00.520"), "newest first");
        let link = all.header("link").unwrap();
        let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        assert_eq!(get(&shop.management, next).await.json().as_array().unwrap().len(), 20);
    }
}

#[tokio::test]
async fn a_purchase_can_be_written_past_the_log() {
    let shop = speaking("user-buy-list");
    let answer = post(&shop.management, "/purchases", BUY).await;
    let id = answer.header("x-purchase-id").unwrap().to_owned();
    let stored = json!({"_id": id, "username": "joe", "userid": "005", "price": 1195.30,
        "timestamp": "2024-01-15T13:45:00.500Z", "__v": 0});
    is(&answer, 201, &stored);
    is(&get(&shop.management, "/purchases/005").await, 200, &json!([stored]));
    let price = json!({"error": "Price must be a positive number"});
    is(
        &post(&shop.management, "/purchases", r#"{"username":"joe","userid":"5","price":0}"#).await,
        400,
        &price,
    );
    let (status, body) = super::log_away(&shop, &shop.management, "/purchases").await;
    assert_eq!((status, body), (500, json!({"error": "Failed to write purchase"})));
    assert_eq!(shop.published().await, 0);
}

#[tokio::test]
async fn health_and_readiness_are_told_in_each_dialect() {
    use shop_core::fault::{Call, Fault};

    let union = |word: &str, store: &str, up: bool| json!({"status": word, "mongodb": store, "kafkaReady": true, "mongoReady": up});
    for (name, well) in [("default", "healthy"), ("scalable-shop", "healthy"), ("user-buy-list", "ok")] {
        let shop = speaking(name);
        is(&get(&shop.facing, "/health").await, 200, &json!({"status": well, "kafkaReady": true}));
        is(&get(&shop.facing, "/ready").await, 200, &json!({"status": "ready", "kafkaReady": true}));
        let both = json!({"status": "ready", "kafkaReady": true, "mongoReady": true});
        is(&get(&shop.management, "/ready").await, 200, &both);
        let mine = |up: bool| json!({"status": "ok", "kafkaReady": true, "mongoReady": up});
        let own = name == "user-buy-list";
        let expected = if own { mine(true) } else { union("healthy", "connected", true) };
        is(&get(&shop.management, "/health").await, 200, &expected);

        shop.faults.always(Call::Check, Fault::unavailable());
        is(&get(&shop.facing, "/health").await, 200, &json!({"status": well, "kafkaReady": false}));
        is(&get(&shop.facing, "/ready").await, 503, &json!({"status": "not ready", "kafkaReady": false}));
        let (status, expected) =
            if own { (200, mine(false)) } else { (500, union("unhealthy", "disconnected", false)) };
        is(&get(&shop.management, "/health").await, status, &expected);
        assert_eq!(get(&shop.management, "/ready").await.status, 503);
        shop.faults.clear(Call::Check);
        is(&get(&shop.facing, "/ready").await, 200, &json!({"status": "ready", "kafkaReady": true}));
    }
}

#[tokio::test]
async fn what_is_not_there_is_json_in_each_dialect() {
    for (name, error) in [
        ("user-buy-list", (|text| json!({"error": text})) as fn(&str) -> Value),
        ("purchase-tracking", |text| json!({"error": text})),
        ("scalable-shop", |text| json!({"status": "Error", "message": text})),
    ] {
        let shop = speaking(name);
        for (service, members) in [
            (&shop.facing, &["/", "/healthz", "/getAllUserBuys", "/buy"][..]),
            (&shop.management, &["/", "/healthz", "/buyList/{username}"]),
        ] {
            let index = get(service, "/").await.json();
            assert!(members.iter().all(|member| index[member].is_string()), "{index}");
        }
        is(
            &get(&shop.facing, "/buyList/joe").await,
            404,
            &json!({"status": "Error", "message": "Not Found"}),
        );
        is(&get(&shop.facing, "/nowhere").await, 404, &error("Not Found"));
        is(&get(&shop.facing, "/buy").await, 405, &error("Method Not Allowed"));
        let delete = ask(&shop.management, request(Method::DELETE, "/purchases", &[], Body::empty())).await;
        is(&delete, 405, &error("Method Not Allowed"));
    }
    let shop = Shop::new();
    for path in
        ["/api/getAllUserBuys/5", "/api/v1/getAllUserBuys/5", "/scalable-shop-cm-server/getAllUserBuys/5"]
    {
        let head = ask(&shop.facing, request(Method::HEAD, path, &[], Body::empty())).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""), "{path}");
        let options = ask(&shop.facing, request(Method::OPTIONS, path, &[], Body::empty())).await;
        assert!(options.status.is_success(), "{path}");
    }
}

#[tokio::test]
async fn a_key_that_was_used_is_a_409_everywhere() {
    let shop = Shop::new();
    let text = "The Idempotency-Key was used for another purchase";
    for (path, member) in [
        ("/buy", "error"),
        ("/api/buy", "error"),
        ("/scalable-shop-cm-server/buy", "message"),
        ("/api/v1/buy", "detail"),
    ] {
        let key = format!("order of {path}").replace(' ', "-");
        let headers = [JSON, ("idempotency-key", &*key)];
        let first = ask(&shop.facing, request(Method::POST, path, &headers, BUY)).await;
        let again = ask(&shop.facing, request(Method::POST, path, &headers, BUY)).await;
        assert!(first.status.is_success(), "{path}");
        assert_eq!(
            (again.status, again.header("x-purchase-id")),
            (first.status, first.header("x-purchase-id"))
        );
        let other = BUY.replace("1195.30", "5");
        let answer = ask(&shop.facing, request(Method::POST, path, &headers, other)).await;
        assert_eq!((answer.status.as_u16(), &answer.json()[member]), (409, &json!(text)), "{path}");
    }
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(102_400));
    let answer = post(&shop.facing, "/api/v1/buy", long).await;
    assert_eq!(answer.status, 413);
    assert!(answer.json()["detail"].as_str().unwrap().contains("102400 bytes"));
}

#[tokio::test]
async fn a_slash_at_the_end_redirects_where_fastapi_did() {
    let shop = speaking("default");
    let redirects = [
        (&shop.facing, Method::POST, "/api/v1/buy/", "/api/v1/buy"),
        (
            &shop.facing,
            Method::GET,
            "/api/v1/getAllUserBuys/a%20b/?limit=1",
            "/api/v1/getAllUserBuys/a%20b?limit=1",
        ),
        (&shop.management, Method::GET, "/api/v1/purchases/123/", "/api/v1/purchases/123"),
    ];
    for (service, method, path, expected) in redirects {
        let answer = ask(service, request(method, path, &[JSON], BUY)).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (307, Some(expected)), "{path}");
    }
    assert_eq!(shop.published().await, 0);
    let prefix = "/scalable-shop-cm-server/api/v1/buy";
    let answer = post(&shop.facing, &format!("{prefix}/"), BUY).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (307, Some(prefix)));
    for path in [
        "/buy/",
        "/api/buy/",
        "/v1/purchases/",
        "/api/v1/buy//",
        "/api/v1/nowhere/",
        "/api/v1/getAllUserBuys/",
    ] {
        assert_eq!(post(&shop.facing, path, BUY).await.status, 404, "{path}");
    }
}

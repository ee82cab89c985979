//! Paths that select the dialect, independently of `SHOP_DIALECT`, and the paths of management alone.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use shop_http::Dialect;

use super::{BUY, assert_response, list_without_store, of_joe, shop_in_dialect, two};
use crate::shop::{JSON, NOW, Shop, get, post, request, send};

#[tokio::test]
async fn a_prefix_selects_the_dialect() {
    for name in ["default", "purchase-tracking"] {
        let shop = shop_in_dialect(name);
        shop.stored(&two()).await;
        let page = post(&shop.facing, "/api/buy", BUY).await;
        assert_eq!((page.status.as_u16(), &page.json()["purchase"]["timestamp"]), (201, &json!(NOW)));
        assert_eq!(get(&shop.facing, "/api/getAllUserBuys/005").await.json().as_array().unwrap().len(), 2);
        assert_response(&get(&shop.facing, "/api/nowhere").await, 404, &json!({"error": "Not Found"}));

        let prefix = "/scalable-shop-cm-server";
        let ok = json!({"status": "Ok!", "message": "Message successfully sent to Kafka!"});
        assert_response(&post(&shop.facing, &format!("{prefix}/buy"), BUY).await, 200, &ok);
        let listing = get(&shop.facing, &format!("{prefix}/getAllUserBuys/joe?limit=1")).await;
        assert_eq!(listing.json()["purchases"][0]["price"], "10.50");
        assert!(listing.header("link").unwrap().starts_with(&format!("<{prefix}/getAllUserBuys/joe?")));
        assert_eq!(get(&shop.facing, &format!("{prefix}/healthz")).await.text, "Success");
        for index in ["/scalable-shop-cm-server", "/scalable-shop-cm-server/", "/api", "/api/"] {
            assert!(get(&shop.facing, index).await.json().get("/healthz").is_some(), "{index}");
        }
        let error = json!({"status": "Error", "message": "Not Found"});
        assert_response(&get(&shop.facing, &format!("{prefix}/nowhere")).await, 404, &error);
        let v1 = get(&shop.facing, &format!("{prefix}/v1/summary?userid=005")).await;
        assert_eq!(v1.text, r#"{"count":2,"total_spent":10.6}"#);
        let buys = get(&shop.management, "/scalable-shop-cm-api/buyList/joe").await.json();
        assert_eq!((&buys["status"], buys["purchases"].as_array().unwrap().len()), (&json!("Ok!"), 2));
    }
}

#[tokio::test]
async fn a_buy_list_is_by_name_and_never_a_404() {
    let shop = shop_in_dialect("purchase-tracking");
    shop.stored(&[of_joe(1, "10.50", 250)]).await;
    let item = json!({"_id": "00000000-0000-0000-0000-000000000001", "username": "joe", "userid": "005",
        "price": "10.50", "timestamp": "2026-01-01T00:00:00.250Z"});
    assert_response(
        &get(&shop.management, "/buyList/joe").await,
        200,
        &json!({"status": "Ok!", "purchases": [item]}),
    );
    assert_response(
        &get(&shop.management, "/buyList/foo").await,
        200,
        &json!({"status": "Ok!", "purchases": []}),
    );
    let error = json!({"status": "Error", "message": "Service unavailable"});
    assert_eq!(list_without_store(&shop, &shop.management, "/buyList/joe").await, (503, error));
}

#[tokio::test]
async fn purchases_of_all_users_are_an_array_of_at_most_500() {
    let every =
        ["default", "scalable-shop", "user-buy-list", "ecommerce", "purchase-tracking", "shopping-system"];
    for name in every {
        let shop = shop_in_dialect(name);
        if !Dialect::from_name(name).unwrap().is_open {
            assert_eq!(get(&shop.management, "/purchases").await.status, 404, "{name} had no such path");
            continue;
        }
        assert_response(&get(&shop.management, "/purchases").await, 200, &json!([]));
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
async fn management_writes_purchases_directly() {
    let shop = shop_in_dialect("user-buy-list");
    let response = post(&shop.management, "/purchases", BUY).await;
    let id = response.header("x-purchase-id").unwrap().to_owned();
    let stored = json!({"_id": id, "username": "joe", "userid": "005", "price": 1195.30,
        "timestamp": "2024-01-15T13:45:00.500Z", "__v": 0});
    assert_response(&response, 201, &stored);
    assert_response(&get(&shop.management, "/purchases/005").await, 200, &json!([stored]));
    let price = json!({"error": "Price must be a positive number"});
    assert_response(
        &post(&shop.management, "/purchases", r#"{"username":"joe","userid":"5","price":0}"#).await,
        400,
        &price,
    );
    let (status, body) = super::buy_without_log(&shop, &shop.management, "/purchases").await;
    assert_eq!((status, body), (500, json!({"error": "Failed to write purchase"})));
    assert_eq!(shop.published().await, 0);
}

#[tokio::test]
async fn health_and_readiness_have_the_form_of_each_dialect() {
    use shop_core::conformance::fault::{Call, Fault};

    let union = |word: &str, store: &str, up: bool| {
        json!({"status": word, "mongodb": store, "kafkaReady": true, "mongoReady": up,
        "parts": {"store": up, "listings": up}})
    };
    let facing = |word: &str, up: bool| json!({"status": word, "kafkaReady": up, "parts": {"log": up, "listings": up}});
    for (name, well) in [("default", "healthy"), ("scalable-shop", "healthy"), ("user-buy-list", "ok")] {
        let shop = shop_in_dialect(name);
        assert_response(&get(&shop.facing, "/health").await, 200, &facing(well, true));
        assert_response(
            &get(&shop.facing, "/ready").await,
            200,
            &json!({"status": "ready", "kafkaReady": true}),
        );
        let both = json!({"status": "ready", "kafkaReady": true, "mongoReady": true});
        assert_response(&get(&shop.management, "/ready").await, 200, &both);
        let mine = |up: bool| {
            json!({"status": "ok", "kafkaReady": true, "mongoReady": up,
            "parts": {"store": up, "listings": up}})
        };
        let own = name == "user-buy-list";
        let expected = if own { mine(true) } else { union("healthy", "connected", true) };
        assert_response(&get(&shop.management, "/health").await, 200, &expected);

        shop.faults.always(Call::Check, Fault::unavailable());
        assert_response(
            &get(&shop.facing, "/health").await,
            200,
            &facing(if own { "ok" } else { "degraded" }, false),
        );
        assert_response(
            &get(&shop.facing, "/ready").await,
            503,
            &json!({"status": "not ready", "kafkaReady": false}),
        );
        let (status, expected) =
            if own { (200, mine(false)) } else { (500, union("unhealthy", "disconnected", false)) };
        assert_response(&get(&shop.management, "/health").await, status, &expected);
        assert_eq!(get(&shop.management, "/ready").await.status, 503);
        shop.faults.clear(Call::Check);
        assert_response(
            &get(&shop.facing, "/ready").await,
            200,
            &json!({"status": "ready", "kafkaReady": true}),
        );
    }
}

#[tokio::test]
async fn unknown_paths_are_json_in_each_dialect() {
    for (name, error) in [
        ("user-buy-list", (|text| json!({"error": text})) as fn(&str) -> Value),
        ("purchase-tracking", |text| json!({"error": text})),
        ("scalable-shop", |text| json!({"status": "Error", "message": text})),
    ] {
        let shop = shop_in_dialect(name);
        for (service, members) in [
            (&shop.facing, &["/", "/healthz", "/getAllUserBuys", "/buy"][..]),
            (&shop.management, &["/", "/healthz", "/buyList/{username}"]),
        ] {
            let index = get(service, "/").await.json();
            assert!(members.iter().all(|member| index[member].is_string()), "{index}");
        }
        assert_response(
            &get(&shop.facing, "/buyList/joe").await,
            404,
            &json!({"status": "Error", "message": "Not Found"}),
        );
        assert_response(&get(&shop.facing, "/nowhere").await, 404, &error("Not Found"));
        assert_response(&get(&shop.facing, "/buy").await, 405, &error("Method Not Allowed"));
        let delete = send(&shop.management, request(Method::DELETE, "/purchases", &[], Body::empty())).await;
        assert_response(&delete, 405, &error("Method Not Allowed"));
    }
    let shop = Shop::new();
    for path in
        ["/api/getAllUserBuys/5", "/api/v1/getAllUserBuys/5", "/scalable-shop-cm-server/getAllUserBuys/5"]
    {
        let head = send(&shop.facing, request(Method::HEAD, path, &[], Body::empty())).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""), "{path}");
        let options = send(&shop.facing, request(Method::OPTIONS, path, &[], Body::empty())).await;
        assert!(options.status.is_success(), "{path}");
    }
}

#[tokio::test]
async fn a_reused_key_is_a_409_on_every_path() {
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
        let first = send(&shop.facing, request(Method::POST, path, &headers, BUY)).await;
        let again = send(&shop.facing, request(Method::POST, path, &headers, BUY)).await;
        assert!(first.status.is_success(), "{path}");
        assert_eq!(
            (again.status, again.header("x-purchase-id")),
            (first.status, first.header("x-purchase-id"))
        );
        let other = BUY.replace("1195.30", "5");
        let response = send(&shop.facing, request(Method::POST, path, &headers, other)).await;
        assert_eq!((response.status.as_u16(), &response.json()[member]), (409, &json!(text)), "{path}");
    }
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(102_400));
    let response = post(&shop.facing, "/api/v1/buy", long).await;
    assert_eq!(response.status, 413);
    assert!(response.json()["detail"].as_str().unwrap().contains("102400 bytes"));
}

#[tokio::test]
async fn trailing_slashes_redirect_where_fastapi_did() {
    let shop = shop_in_dialect("default");
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
        let response = send(service, request(method, path, &[JSON], BUY)).await;
        assert_eq!((response.status.as_u16(), response.header("location")), (307, Some(expected)), "{path}");
    }
    assert_eq!(shop.published().await, 0);
    let prefix = "/scalable-shop-cm-server/api/v1/buy";
    let response = post(&shop.facing, &format!("{prefix}/"), BUY).await;
    assert_eq!((response.status.as_u16(), response.header("location")), (307, Some(prefix)));
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

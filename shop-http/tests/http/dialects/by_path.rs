//! Paths that select the dialect, independently of `SHOP_DIALECT`, and the paths of management alone.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use shop_core::conformance::fault::{Call, Fault};
use shop_http::Dialect;

use super::{BUY, many, of_joe, shop_in_dialect, two};
use crate::shop::{JSON, NOW, Shop, get, post, request, send};

#[tokio::test]
async fn a_prefix_selects_the_dialect() {
    for name in ["default", "purchase-tracking"] {
        let shop = shop_in_dialect(name);
        shop.stored(&two()).await;
        let page = post(&shop.facing, "/api/buy", BUY).await;
        assert_eq!(
            (page.status.as_u16(), &page.json()["purchase"]["timestamp"]),
            (201, &json!(NOW))
        );
        assert_eq!(
            get(&shop.facing, "/api/getAllUserBuys/005")
                .await
                .json()
                .as_array()
                .unwrap()
                .len(),
            2
        );

        let prefix = "/scalable-shop-cm-server";
        let ok = json!({"status": "Ok!", "message": "Message successfully sent to Kafka!"});
        post(&shop.facing, &format!("{prefix}/buy"), BUY)
            .await
            .is(200, &ok);
        let listing = get(
            &shop.facing,
            &format!("{prefix}/getAllUserBuys/joe?limit=1"),
        )
        .await;
        assert_eq!(listing.json()["purchases"][0]["price"], "10.50");
        assert!(
            listing
                .next()
                .unwrap()
                .starts_with(&format!("{prefix}/getAllUserBuys/joe?"))
        );
        assert_eq!(
            get(&shop.facing, &format!("{prefix}/healthz")).await.text,
            "Success"
        );
        for index in [
            "/scalable-shop-cm-server",
            "/scalable-shop-cm-server/",
            "/api",
            "/api/",
        ] {
            assert!(
                get(&shop.facing, index)
                    .await
                    .json()
                    .get("/healthz")
                    .is_some(),
                "{index}"
            );
        }
        let v1 = get(&shop.facing, &format!("{prefix}/v1/summary?userid=005")).await;
        assert_eq!(v1.text, r#"{"count":2,"total_spent":10.6}"#);
        let buys = get(&shop.management, "/scalable-shop-cm-api/buyList/joe")
            .await
            .json();
        assert_eq!(
            (&buys["status"], buys["purchases"].as_array().unwrap().len()),
            (&json!("Ok!"), 2)
        );
    }
}

#[tokio::test]
async fn a_buy_list_is_by_name_and_never_a_404() {
    let shop = shop_in_dialect("purchase-tracking");
    shop.stored(&[of_joe(1, "10.50", 250)]).await;
    let item = json!({"_id": "00000000-0000-0000-0000-000000000001", "username": "joe", "userid": "005",
        "price": "10.50", "timestamp": "2026-01-01T00:00:00.250Z"});
    for (name, purchases) in [("joe", json!([item])), ("foo", json!([]))] {
        let response = get(&shop.management, &format!("/buyList/{name}")).await;
        response.is(200, &json!({"status": "Ok!", "purchases": purchases}));
    }
}

#[tokio::test]
async fn purchases_of_all_users_are_an_array_of_at_most_500() {
    let every = [
        "default",
        "scalable-shop",
        "user-buy-list",
        "ecommerce",
        "purchase-tracking",
        "shopping-system",
    ];
    for name in every {
        let shop = shop_in_dialect(name);
        if !Dialect::from_name(name).unwrap().is_open {
            assert_eq!(
                get(&shop.management, "/purchases").await.status,
                404,
                "{name} had no such path"
            );
            continue;
        }
        get(&shop.management, "/purchases")
            .await
            .is(200, &json!([]));
        shop.stored(&many(520)).await;
        let all = get(&shop.management, "/purchases").await;
        assert_eq!(all.json().as_array().unwrap().len(), 500, "{name}");
        assert!(
            all.json()[0]["timestamp"]
                .as_str()
                .unwrap()
                .contains("00:00:00.520"),
            "newest first"
        );
        let rest = get(&shop.management, all.next().unwrap()).await;
        assert_eq!(rest.json().as_array().unwrap().len(), 20);
    }
}

#[tokio::test]
async fn management_writes_purchases_directly() {
    let shop = shop_in_dialect("user-buy-list");
    let response = post(&shop.management, "/purchases", BUY).await;
    let id = response.header("x-purchase-id").unwrap();
    let stored = json!({"_id": id, "username": "joe", "userid": "005", "price": 1195.30,
        "timestamp": "2024-01-15T13:45:00.500Z", "__v": 0});
    response.is(201, &stored);
    get(&shop.management, "/purchases/005")
        .await
        .is(200, &json!([stored]));
    let free = post(
        &shop.management,
        "/purchases",
        r#"{"username":"joe","userid":"5","price":0}"#,
    )
    .await;
    free.is(400, &json!({"error": "Price must be a positive number"}));
    assert_eq!(shop.published().await, 0);
}

#[tokio::test]
async fn health_and_readiness_have_the_form_of_each_dialect() {
    for (name, well) in [
        ("default", "healthy"),
        ("scalable-shop", "healthy"),
        ("user-buy-list", "ok"),
    ] {
        let shop = shop_in_dialect(name);
        let is_own = name == "user-buy-list";
        for up in [true, false] {
            if !up {
                shop.faults.always(Call::Check, Fault::unavailable());
            }
            let word = if up || is_own { well } else { "degraded" };
            let parts = json!({"log": up, "listings": up});
            let facing = json!({"status": word, "kafkaReady": up, "parts": parts});
            get(&shop.facing, "/health").await.is(200, &facing);
            let (status, word) = if up {
                (200, "ready")
            } else {
                (503, "not ready")
            };
            let (state, store) = if up {
                ("healthy", "connected")
            } else {
                ("unhealthy", "disconnected")
            };
            get(&shop.facing, "/ready")
                .await
                .is(status, &json!({"status": word, "kafkaReady": up}));
            let both = json!({"status": word, "kafkaReady": true, "mongoReady": up});
            get(&shop.management, "/ready").await.is(status, &both);

            let mut management = json!({"status": "ok", "kafkaReady": true, "mongoReady": up,
                "parts": {"store": up, "listings": up}});
            if !is_own {
                (management["status"], management["mongodb"]) = (state.into(), store.into());
            }
            let status = if up || is_own { 200 } else { 500 };
            get(&shop.management, "/health")
                .await
                .is(status, &management);
        }
    }
}

#[tokio::test]
async fn an_index_and_other_methods_are_served_in_each_dialect() {
    for name in ["user-buy-list", "purchase-tracking", "scalable-shop"] {
        let shop = shop_in_dialect(name);
        for (service, members) in [
            (
                &shop.facing,
                &["/", "/healthz", "/getAllUserBuys", "/buy"][..],
            ),
            (&shop.management, &["/", "/healthz", "/buyList/{username}"]),
        ] {
            let index = get(service, "/").await.json();
            assert!(
                members.iter().all(|member| index[member].is_string()),
                "{index}"
            );
        }
    }
    let shop = Shop::new();
    for prefix in ["/api", "/api/v1", "/scalable-shop-cm-server"] {
        let path = format!("{prefix}/getAllUserBuys/5");
        let head = send(
            &shop.facing,
            request(Method::HEAD, &path, &[], Body::empty()),
        )
        .await;
        assert_eq!(
            (head.status.as_u16(), head.text.as_str()),
            (200, ""),
            "{path}"
        );
        let options = send(
            &shop.facing,
            request(Method::OPTIONS, &path, &[], Body::empty()),
        )
        .await;
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
        let key = format!("order-of-{path}");
        let headers = [JSON, ("idempotency-key", &*key)];
        let first = send(&shop.facing, request(Method::POST, path, &headers, BUY)).await;
        let again = send(&shop.facing, request(Method::POST, path, &headers, BUY)).await;
        assert!(first.status.is_success(), "{path}");
        assert_eq!(
            (again.status, again.header("x-purchase-id")),
            (first.status, first.header("x-purchase-id"))
        );
        let other = BUY.replace("1195.30", "5");
        send(&shop.facing, request(Method::POST, path, &headers, other))
            .await
            .has(409, &json!({member: text}));
    }
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(102_400));
    let response = post(&shop.facing, "/api/v1/buy", long).await;
    assert_eq!(response.status, 413);
    assert!(
        response.json()["detail"]
            .as_str()
            .unwrap()
            .contains("102400 bytes")
    );
}

#[tokio::test]
async fn trailing_slashes_redirect_where_fastapi_did() {
    let shop = shop_in_dialect("default");
    for (service, method, from, to) in [
        (&shop.facing, Method::POST, "/api/v1/buy/", "/api/v1/buy"),
        (
            &shop.facing,
            Method::GET,
            "/api/v1/getAllUserBuys/a%20b/?limit=1",
            "/api/v1/getAllUserBuys/a%20b?limit=1",
        ),
        (
            &shop.management,
            Method::GET,
            "/api/v1/purchases/123/",
            "/api/v1/purchases/123",
        ),
        (
            &shop.facing,
            Method::POST,
            "/scalable-shop-cm-server/api/v1/buy/",
            "/scalable-shop-cm-server/api/v1/buy",
        ),
    ] {
        let response = send(service, request(method, from, &[JSON], BUY)).await;
        assert_eq!(
            (response.status.as_u16(), response.header("location")),
            (307, Some(to)),
            "{from}"
        );
    }
    assert_eq!(shop.published().await, 0);
    for path in [
        "/buy/",
        "/api/buy/",
        "/v1/purchases/",
        "/api/v1/buy//",
        "/api/v1/nowhere/",
    ] {
        assert_eq!(post(&shop.facing, path, BUY).await.status, 404, "{path}");
    }
}

//! Keys that are not cached: another process, or an earlier one, acknowledged their purchase.

use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use serde_json::json;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::ports::PurchaseErase;
use tokio::time::Instant;

use crate::shop::{JSON, Shop, TestResponse, get, post, request, send};

const KEY: &str = "idempotency-key";

fn body(price: &str) -> String {
    format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#)
}

async fn buy(router: &Router, path: &str, key: &str, price: &str) -> TestResponse {
    send(
        router,
        request(Method::POST, path, &[JSON, (KEY, key)], body(price)),
    )
    .await
}

async fn all_stored(shop: &Shop, count: usize) {
    while shop.store.all().len() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_key_in_quotes_is_the_same() {
    let shop = Shop::new();
    for key in ["5a0e4f9c-1d3c-4a52-9f6e-2f1f6c1d7a10", "order-77"] {
        let bare = buy(&shop.facing, "/v1/purchases", key, "10").await;
        let quoted = buy(&shop.facing, "/v1/purchases", &format!("\"{key}\""), "10").await;
        assert_eq!(
            quoted.header("idempotent-replayed"),
            Some("true"),
            "{quoted:?}"
        );
        assert_eq!(
            bare.json()["purchase"]["id"],
            quoted.json()["purchase"]["id"]
        );
    }
}

#[tokio::test]
async fn another_process_rejects_a_conflicting_key() {
    let shop = Shop::new();
    shop.ingest();
    let other = shop.another_facing();
    // A UUID, the same one for another user, and a key of one user.
    let uuid = "5a0e4f9c-1d3c-4a52-9f6e-2f1f6c1d7a10";
    for key in [uuid, "order-77"] {
        assert_eq!(
            buy(&shop.facing, "/v1/purchases", key, "10").await.status,
            StatusCode::CREATED
        );
    }
    all_stored(&shop, 2).await;
    for key in [uuid, "order-77"] {
        let conflict = buy(&other, "/v1/purchases", key, "12").await;
        conflict.has(
            409,
            &json!({"type": "/problems/conflict", "outcome": "not_sent"}),
        );
        assert_eq!(
            buy(&other, "/buy", key, "12").await.status,
            StatusCode::CONFLICT,
            "the result is cached"
        );
    }
    let stranger = r#"{"username":"eve","userid":"eve","price":10}"#;
    let taken = send(
        &other,
        request(Method::POST, "/buy", &[JSON, (KEY, uuid)], stranger),
    )
    .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(
        !taken.text.contains("ada") && !taken.text.contains("u1"),
        "{}",
        taken.text
    );
    assert_eq!(shop.published().await, 2);
}

#[tokio::test]
async fn a_repeated_request_publishes_no_second_record() {
    let shop = Shop::new();
    shop.ingest();
    let first = buy(&shop.facing, "/v1/purchases", "order-77", "10").await;
    assert_eq!(first.header("idempotent-replayed"), None);
    all_stored(&shop, 1).await;
    let again = buy(&shop.another_facing(), "/v1/purchases", "order-77", "10.0").await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (StatusCode::CREATED, Some("true"))
    );
    assert_eq!(
        again.json()["purchase"],
        first.json()["purchase"],
        "with the timestamp of the first"
    );
    let id = first.header("x-purchase-id").unwrap();
    assert_eq!(
        again.json()["receipt"],
        json!({"id": id, "durability": "memory"}),
        "no position is known"
    );
    for (path, status) in [
        ("/buy", 201),
        ("/api/v1/buy", 202),
        ("/scalable-shop-cm-server/buy", 200),
    ] {
        let again = buy(&shop.another_facing(), path, "order-77", "10").await;
        assert_eq!(
            (again.status.as_u16(), again.header("idempotent-replayed")),
            (status, Some("true")),
            "{path}"
        );
        assert_eq!(again.header("x-purchase-id"), Some(id));
    }
    // The process with the cached key responds alike.
    let remembered = buy(&shop.facing, "/v1/purchases", "order-77", "10").await;
    assert_eq!(remembered.header("idempotent-replayed"), Some("true"));
    assert_eq!(shop.published().await, 1);
    for price in ["10", "11"] {
        let direct = buy(&shop.management, "/v1/purchases", "order-77", price).await;
        let expected = if price == "10" {
            (201, Some("true"))
        } else {
            (409, None)
        };
        assert_eq!(
            (direct.status.as_u16(), direct.header("idempotent-replayed")),
            expected,
            "{price}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_store_rejects_no_buy() {
    let shop = Shop::new();
    for (fault, longest) in [
        (Fault::unavailable(), Duration::ZERO),
        (
            Fault::Delay(Duration::from_secs(60)),
            Duration::from_millis(250),
        ),
    ] {
        shop.faults.always(Call::Query, fault);
        let router = shop.another_facing();
        let begun = Instant::now();
        let calls = shop.faults.calls(Call::Query);
        for number in 0..10 {
            let response = buy(&router, "/buy", &format!("{longest:?}-{number}"), "1").await;
            assert_eq!(response.status, StatusCode::CREATED);
        }
        assert!(
            begun.elapsed() <= longest + Duration::from_millis(5),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(
            shop.faults.calls(Call::Query) - calls,
            1,
            "no lookup for a second after a failed one"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        buy(&router, "/buy", &format!("{longest:?}-later"), "1").await;
        assert_eq!(shop.faults.calls(Call::Query) - calls, 2);
    }
}

#[tokio::test]
async fn a_first_attempt_costs_no_lookup() {
    let shop = Shop::new();
    let router = shop.another_facing();
    assert_eq!(
        post(&router, "/buy", body("1")).await.status,
        StatusCode::CREATED
    );
    let fresh = uuid::Uuid::now_v7().to_string();
    assert_eq!(
        buy(&router, "/v1/purchases", &fresh, "1").await.status,
        StatusCode::CREATED
    );
    assert_eq!(shop.faults.calls(Call::Query), 0);
    let made = uuid::Timestamp::from_unix(uuid::NoContext, 1_700_000_000, 0);
    let old = uuid::Uuid::new_v7(made).to_string();
    assert_eq!(
        buy(&router, "/v1/purchases", &old, "1").await.status,
        StatusCode::CREATED
    );
    assert_eq!(shop.faults.calls(Call::Query), 1);
}

#[tokio::test]
async fn the_key_of_an_erased_purchase_is_a_409() {
    let shop = Shop::new();
    shop.ingest();
    let first = buy(&shop.facing, "/v1/purchases", "order-7", "10").await;
    all_stored(&shop, 1).await;
    assert_eq!(
        shop.store.erase(&"u1".parse().unwrap(), 10).await.unwrap(),
        1
    );
    let other = shop.another_facing();
    for (router, price) in [
        (&shop.facing, "10"),
        (&other, "10"),
        (&other, "11"),
        (&shop.management, "11"),
    ] {
        let refused = buy(router, "/v1/purchases", "order-7", price).await;
        refused.has(
            409,
            &json!({"type": "/problems/erased", "outcome": "not_sent"}),
        );
    }
    assert_eq!(
        buy(&other, "/buy", "order-7", "10").await.status,
        StatusCode::CONFLICT
    );
    let id = first.header("x-purchase-id").unwrap();
    let batch = r#"[{"username":"ada","userid":"u1","price":1,"key":"order-7"}]"#;
    let result = post(&other, "/v1/purchases:batch", batch).await.json();
    assert_eq!(
        (&result[0]["status"], &result[0]["type"]),
        (&json!("rejected"), &json!("/problems/erased"))
    );
    let gone = get(&shop.management, &format!("/v1/purchases/{id}")).await;
    gone.has(410, &json!({"type": "/problems/erased"}));
    assert_eq!(shop.published().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_blocked_by_the_attempt_of_another_user() {
    let shop = Shop::new();
    shop.ingest();
    assert_eq!(
        buy(&shop.facing, "/buy", "order-77", "5").await.status,
        StatusCode::CREATED
    );
    all_stored(&shop, 1).await;
    // The lookup for the other content is slow.
    let restarted = shop.another_facing();
    shop.faults
        .once(Call::Query, Fault::Delay(Duration::from_millis(100)));
    let (other, own) = tokio::join!(
        buy(&restarted, "/buy", "order-77", "6"),
        buy(&restarted, "/buy", "order-77", "5")
    );
    assert_eq!(
        (other.status, own.status),
        (StatusCode::CONFLICT, StatusCode::CREATED)
    );
    assert_eq!(own.header("idempotent-replayed"), Some("true"));
    assert_eq!(shop.published().await, 1);
}

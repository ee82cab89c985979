//! Concurrent and repeated requests.

use serde_json::json;
use shop_accounts::outbox::Outbox;
use shop_http::HttpOptions;
use uuid::Uuid;

use crate::entities::Entities;
use crate::shop::get;
use crate::{ADA, PEN, post_with_key};

#[tokio::test]
async fn a_key_makes_users_and_orders_repeatable() {
    let entities = Entities::new();
    entities.introduce_ada().await;
    let mut replayed = Vec::new();
    for router in [
        entities.management(HttpOptions::default()),
        entities.facing(HttpOptions::default()),
    ] {
        for _ in 0..2 {
            let user = post_with_key(&router, "/users", "k", ADA).await;
            user.is(
                201,
                &json!({"id": 1, "email": "ada@example.com", "name": "Ada"}),
            );
            replayed.push(user.header("idempotent-replayed").map(str::to_owned));
            // The same price, written differently.
            for body in [PEN.to_owned(), PEN.replace("50", "\"50.0\"")] {
                let order = post_with_key(&router, "/orders", "k", &body).await;
                assert_eq!(
                    (order.status.as_u16(), &order.json()["id"]),
                    (201, &json!(1)),
                    "{body}"
                );
            }
        }
        let other = post_with_key(&router, "/users", "k", &ADA.replace("ada@", "eve@")).await;
        other.is(
            409,
            &json!({"detail": "The Idempotency-Key was used for another user"}),
        );
        let other = post_with_key(&router, "/orders", "k", &PEN.replace("pen", "ink")).await;
        other.is(
            409,
            &json!({"detail": "The Idempotency-Key was used for another order"}),
        );
        let broken = post_with_key(&router, "/users", "not one key", ADA).await;
        assert_eq!(
            broken.json()["detail"][0]["loc"],
            json!(["header", "Idempotency-Key"])
        );
        assert_eq!(broken.status, 422);
    }
    let again = || Some("true".to_owned());
    assert_eq!(
        replayed,
        [None, again(), again(), again()],
        "all but the first are marked as repeated"
    );
    let router = entities.management(HttpOptions::default());
    get(&router, "/orders/2")
        .await
        .is(404, &json!({"detail": "Order not found"}));
}

#[tokio::test]
async fn an_event_has_the_request_id_of_its_request() {
    let entities = Entities::new();
    let router = entities.management(HttpOptions::default());
    let trace = format!("00-{}-00f067aa0ba902b7-01", Uuid::from_u128(7).simple());
    let headers = [
        crate::shop::JSON,
        ("x-request-id", "r-1"),
        ("traceparent", &trace),
    ];
    let request = crate::shop::request(axum::http::Method::POST, "/users", &headers, ADA);
    assert_eq!(crate::shop::send(&router, request).await.status, 201);
    let pending = entities.users.pending(2).await.unwrap();
    let headers = format!("{:?}", pending[0].record.headers);
    assert!(
        headers.contains("r-1") && headers.contains(&trace),
        "{headers}"
    );
}

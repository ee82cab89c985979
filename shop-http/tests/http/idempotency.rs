//! A key in two requests at once.

use crate::prelude::*;

async fn buy(router: &Router, price: &str) -> TestResponse {
    let headers = [JSON, ("idempotency-key", "order-77")];
    let body = format!(r#"{{"username":"ada","userid":"u1","price":{price}}}"#);
    send(router, request(Method::POST, "/buy", &headers, body)).await
}

#[tokio::test(start_paused = true)]
async fn a_key_is_not_blocked_by_an_attempt_with_other_content() {
    let shop = Shop::new();
    shop.ingest();
    assert_eq!(buy(&shop.facing, "5").await.status, 201);
    while shop.store.all().is_empty() {
        tokio::task::yield_now().await;
    }

    // The lookup for the other content is slow.
    let restarted = shop.another_facing();
    let slow = Fault::Delay(Duration::from_millis(100));
    shop.faults.once(Call::Query, slow);
    let (other, own) = tokio::join!(buy(&restarted, "6"), buy(&restarted, "5"));

    assert_eq!(other.status, 409);
    assert_eq!(own.status, 201);
    assert_eq!(own.header("idempotent-replayed"), Some("true"));
    assert_eq!(shop.published().await, 1);
}

//! `POST /v1/purchases:import` of management takes what an export has written. The rest is in the scenario `imports`.

use axum::body::Body;
use axum::http::Method;
use shop_core::ports::PurchaseStore as _;
use shop_core::{NewPurchase, Purchase, Uuid};

use crate::shop::{Shop, get, request, send};

/// A purchase with members of a later version, and its refund.
fn refunded() -> [Purchase; 2] {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap();
    let at = "2026-03-01T09:00:00Z".parse().unwrap();
    let mut bought = new.into_purchase(at, || Uuid::from_u128(7));
    bought
        .details
        .set_unknown_members(r#"{"gift":{"to":"eva"},"tax":1.10}"#)
        .unwrap();
    let refund = bought.refund(None, at).unwrap();
    [bought, refund]
}

#[tokio::test]
async fn what_an_export_has_written_is_taken_whole_by_a_batch_and_an_import() {
    let from = Shop::new();
    from.store.insert(refunded().into()).await.unwrap();
    for (accept, path) in [
        ("text/csv", "/v1/purchases:import"),
        ("application/x-ndjson", "/v1/purchases:import"),
        ("application/x-ndjson", "/v1/purchases:batch"),
    ] {
        // The export is newest first: a refund comes before its purchase.
        let export = request(
            Method::GET,
            "/v1/purchases?everyone=true",
            &[("accept", accept)],
            Body::empty(),
        );
        let file = send(&from.management, export).await.text;
        assert!(file.contains("gift"), "{file}");
        let to = Shop::new();
        let headers = [("content-type", accept)];
        let upload = request(Method::POST, path, &headers, file);
        let response = send(&to.management, upload).await;
        assert_eq!(response.status, 200, "{}", response.text);
        let by_id = |mut all: Vec<Purchase>| {
            all.sort_by_key(|purchase| purchase.id);
            all
        };
        assert_eq!(
            by_id(to.store.all()),
            by_id(from.store.all()),
            "{path} {}",
            response.text
        );
    }
    let one = get(
        &from.management,
        &format!("/v1/purchases/{}", refunded()[0].id),
    )
    .await;
    assert!(
        one.text
            .contains(r#""more":{"gift":{"to":"eva"},"tax":1.10}"#),
        "{}",
        one.text
    );
}

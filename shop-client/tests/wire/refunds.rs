//! Refunds over HTTP.

use shop_client::shop_core::conformance::fault::Faults;
use shop_client::shop_core::ports::PurchaseStore as _;
use shop_client::{ErrorKind, NewPurchase, PurchaseSink as _, Uuid};
use shop_http::HttpOptions;

use crate::shop::{Script, Shop, Turn, ada};

#[tokio::test(start_paused = true)]
async fn a_refund_is_sent_again_until_it_is_answered_and_applied_once() {
    let shop = Shop::new();
    let script = Script::default();
    shop.ingest();
    let client = script.client_of(shop.router.clone()).await;
    let bought = client.buy(ada("29.99")).await.unwrap();
    shop.stored_up_to(&bought.receipt).await;
    let of = bought.purchase.id;
    let amount = || Some("9.99".parse().unwrap());
    let reason = || Some("broken".parse().unwrap());
    // The purchase is found, and the response to its refund is lost.
    script.then(1, || Turn::Pass);
    script.then(1, || Turn::Cut);
    let refund = client.refund(of, amount(), reason()).await.unwrap();
    assert_eq!((refund.attempts, refund.replayed), (2, true));
    assert_eq!(
        (
            refund.purchase.price.to_string(),
            refund.purchase.details.of
        ),
        ("-9.99".to_owned(), Some(of))
    );
    let path = format!("/v1/purchases/{of}:refund");
    assert_eq!(
        script
            .seen()
            .iter()
            .filter(|seen| seen.path == path)
            .count(),
        2
    );
    assert_eq!(
        client.publish(&refund.purchase).await.unwrap().id,
        refund.purchase.id
    );
    for (amount, reason) in [(None, reason()), (amount(), None)] {
        let other = client.refund(of, amount, reason).await.unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Conflict, "{other}");
    }
    let spent = client
        .user("u1")
        .wait_for(&refund.receipt)
        .summary()
        .await
        .unwrap();
    assert_eq!(
        (spent.count, spent.total_spent.to_string()),
        (1, "20".to_owned())
    );
    let too_much = client
        .refund(of, Some("30".parse().unwrap()), None)
        .await
        .unwrap_err();
    assert_eq!(too_much.kind(), ErrorKind::Invalid);
    let unknown = client
        .refund(refund.purchase.id, None, None)
        .await
        .unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Invalid, "of a refund");
}

#[tokio::test(start_paused = true)]
async fn a_refund_that_the_store_has_not_decided_over_is_pending() {
    let shop = Shop::new();
    let router = shop.router.clone();
    let client = Script::default().client_of(router).await;
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("5")
        .unwrap();
    let at = "2026-03-01T09:00:00Z".parse().unwrap();
    let bought = new.into_purchase(at, || Uuid::from_u128(7));
    shop.store.insert([bought.clone()].into()).await.unwrap();

    // The purchase is stored, and ingest does not run.
    let refund = client.refund(bought.id, None, None).await.unwrap();
    assert!(refund.pending && !refund.replayed, "{refund:?}");
    shop.ingest();
    shop.stored_up_to(&refund.receipt).await;
    let applied = client.refund(bought.id, None, None).await.unwrap();
    assert!(!applied.pending && applied.replayed, "{applied:?}");
    assert_eq!(applied.purchase, refund.purchase);
}

#[tokio::test]
async fn a_service_without_refunds_says_so() {
    let shop = Shop::with(HttpOptions::default().refunds(false), &Faults::new());
    shop.ingest();
    let client = Script::default().client_of(shop.router.clone()).await;
    let bought = client.buy(ada("1")).await.unwrap();
    shop.stored_up_to(&bought.receipt).await;
    let error = client
        .refund(bought.purchase.id, None, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("SHOP_REFUNDS"), "{error}");
}

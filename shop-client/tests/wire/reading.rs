//! Reading purchases.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use shop_client::shop_core::ports::{PurchaseQueryExt, PurchaseSink, PurchaseStore};
use shop_client::shop_core::{Uuid, ports};
use shop_client::{ErrorKind, PageLimit, Purchase, PurchaseId, Timestamp};
use tokio::time::Instant;

use crate::shop::{Script, Shop, ada};

pub(crate) fn purchase(number: u16) -> Purchase {
    let id = PurchaseId::from_uuid(Uuid::from_u128(u128::from(number) + 1));
    let at = Timestamp::from_millis(i64::from(number)).unwrap();
    Purchase::new(
        id,
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "1.10".parse().unwrap(),
        at,
    )
}

#[tokio::test(start_paused = true)]
async fn pages_are_requested_as_the_stream_is_read() {
    let shop = Shop::new();
    let script = Script::new([]);
    let all: Vec<_> = (0..2_500).map(purchase).collect();
    shop.store.insert(all.as_slice().into()).await.unwrap();
    let client = script.client_of(shop.router).await;
    let user = client.user("u1");

    let user = user.page_size(PageLimit::MAX);
    let mut newest_first = user.purchases();
    assert_eq!(script.seen().len(), 0);
    assert_eq!(newest_first.next().await.unwrap().unwrap(), all[2_499]);
    assert_eq!(script.seen().len(), 1);
    let rest: Vec<_> = newest_first.try_collect().await.unwrap();
    assert_eq!((rest.len(), script.seen().len()), (2_499, 3));

    let oldest_first: Vec<_> = user.oldest_first().purchases().try_collect().await.unwrap();
    assert_eq!(oldest_first, all);
    let named: Vec<_> = client
        .user_with_name("ada")
        .purchases()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(named.len(), 2_500);
    // The same through the port.
    let query: std::sync::Arc<dyn ports::PurchaseQuery> = std::sync::Arc::new(client);
    let scanned: Vec<_> = query
        .scan(user_one(), ports::ListOrder::OldestFirst)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(scanned, all);
}

fn user_one() -> ports::Selector {
    ports::Selector::User("u1".parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn only_the_first_page_waits_for_the_purchase() {
    let shop = Shop::new();
    let script = Script::new([]);
    let client = script.client_of(shop.router.clone()).await;
    let bought = client.buy(ada("29.99")).await.unwrap();
    let user = client.user("u1");
    assert_eq!(user.summary().await.unwrap().count, 0);

    let user = user.wait_for(&bought.receipt);
    let waiting = tokio::spawn({
        let user = user.clone();
        async move { user.summary().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    shop.ingest();
    assert_eq!(waiting.await.unwrap().unwrap().count, 1);
    let listed: Vec<_> = user.purchases().try_collect().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&bought.purchase));
    assert_eq!(user.page().await.unwrap().items.len(), 1);
    assert_eq!(
        client.get(&bought.purchase.id).await.unwrap(),
        Some(bought.purchase)
    );
}

#[tokio::test(start_paused = true)]
async fn a_purchase_not_stored_in_time_is_an_error() {
    let shop = Shop::new();
    let script = Script::new([]);
    let client = script.client_of(shop.router.clone()).await;
    let bought = client.buy(ada("29.99")).await.unwrap();
    let user = client.user("u1").wait_for(&bought.receipt);
    for seconds in [0, 2, 10, 25] {
        let start = Instant::now();
        let error = user
            .clone()
            .wait_timeout(Duration::from_secs(seconds))
            .summary()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
        assert!(error.is_retryable());
        let waited = start.elapsed();
        let expected = Duration::from_secs(seconds)..Duration::from_secs(seconds + 1);
        assert!(expected.contains(&waited), "{seconds}: {waited:?}");
    }
}

#[tokio::test]
async fn a_purchase_whose_id_would_change_is_not_sent() {
    let client = Script::new([]).client().await;
    for id in [
        Uuid::from_u128(0x6227_dd3e_4b6e_5903_bbab_a62e_31d7_5856),
        Uuid::nil(),
        Uuid::max(),
    ] {
        let mut refused = purchase(1);
        refused.id = PurchaseId::from_uuid(id);
        for result in [
            client.publish(&refused).await,
            client.publish_many(&[refused]).await.remove(0),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported, "{id}");
        }
    }
}

//! Whole listings: complete, or an error at the end. `responses/foreign.txt` has those of other servers.

use std::sync::Arc;

use axum::body::Bytes;
use shop_client::TimeRange;
use shop_client::shop_core::ports::PurchaseStore as _;

use crate::prelude::*;
use crate::reading::purchase;

/// More than the service reads at once.
const COUNT: u16 = 2_500;

/// A client of a service that stores `COUNT` purchases.
async fn client() -> (ShopClient, Script) {
    let service = Shop::new();
    let script = Script::default();
    let all: Arc<[Purchase]> = (0..COUNT).map(purchase).collect();
    service.store.insert(all).await.unwrap();
    let client = script.client_of(service.router).await;
    (client, script)
}

fn user() -> Selector {
    Selector::User("u1".parse().unwrap())
}

async fn text(parts: impl stream::Stream<Item = Result<Bytes>>) -> String {
    let parts: Vec<_> = parts.try_collect().await.unwrap();
    String::from_utf8(parts.concat()).unwrap()
}

#[tokio::test]
async fn everything_is_in_one_response() {
    let (client, script) = client().await;
    let export = || client.export(user());
    let purchases: Vec<_> = export().purchases().try_collect().await.unwrap();
    assert!(purchases.into_iter().eq((0..COUNT).rev().map(purchase)));

    let lines = text(export().oldest_first().ndjson()).await;
    let first: Purchase = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((lines.lines().count(), first), (2_500, purchase(0)));
    let rows = text(export().csv()).await;
    assert!(rows.starts_with("id,username,userid,price,timestamp,item,"));
    assert_eq!(rows.lines().count(), 2_501);

    let range = TimeRange::new(Some(purchase(10).timestamp), Some(purchase(12).timestamp));
    let some = export()
        .oldest_first()
        .with_range(range.unwrap())
        .purchases();
    let some: Vec<_> = some.try_collect().await.unwrap();
    assert_eq!(some, [purchase(10), purchase(11)]);
    assert_eq!(script.seen().len(), 4, "one request for each");
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_an_error() {
    let (client, script) = client().await;
    script.then(2, || Turn::CutAfter(1));
    let purchases: Vec<_> = client.export(user()).purchases().collect().await;
    let (last, before) = purchases.split_last().unwrap();
    assert!(!before.is_empty() && before.iter().all(Result::is_ok));
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    let parts: Vec<_> = client.export(user()).csv().collect().await;
    let last = parts.last().unwrap().as_ref().unwrap_err();
    assert_eq!(last.kind(), ErrorKind::Unavailable);
    assert_eq!(script.seen().len(), 2, "what was begun is not repeated");
    // The beginning is.
    script.then(2, || Turn::Say(refusal(503, &[], "")));
    assert_eq!(client.export(user()).purchases().count().await, 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_becomes_silent_is_an_error() {
    let one = serde_json::to_string(&purchase(1)).unwrap() + "\n";
    let script = Script::new([silent_after("application/x-ndjson", one)]);
    let builder = script.builder().await.query_timeout(Duration::from_secs(5));
    let client = builder.build().unwrap();
    let start = Instant::now();
    let mut purchases = client.export(user()).purchases();
    assert_eq!(purchases.next().await.unwrap().unwrap(), purchase(1));
    let error = purchases.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(start.elapsed() >= Duration::from_secs(5) && purchases.next().await.is_none());
}

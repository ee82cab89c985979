//! Whole listings: complete, or an error at the end; bounded in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use shop_client::shop_core::ports::{PurchaseSink, StoreSink};
use shop_client::{
    Durability, ErrorKind, HttpErrorExt, Purchase, Result, Selector, ShopClient, TimeRange,
    Timestamp,
};
use tokio::time::Instant;

use crate::shop::{self, Script, Turn, ada, refusal};

/// More than the service reads at once.
const COUNT: i64 = 2_500;

fn bought(second: i64) -> Purchase {
    let at = Timestamp::from_millis(1_772_355_600_000 + second * 1_000).unwrap();
    let purchase = ada("9.50")
        .with_key(format!("k{second}"))
        .unwrap()
        .into_purchase(at, || unreachable!());
    assert_eq!(purchase.timestamp, at);
    purchase
}

/// A client of a service that stores `COUNT` purchases.
async fn client() -> (ShopClient, Script) {
    let service = shop::Shop::new();
    let script = Script::default();
    let sink = StoreSink::new(Arc::new(service.store.clone()), Durability::Memory);
    let all: Vec<_> = (0..COUNT).map(bought).collect();
    for result in sink.publish_many(&all).await {
        result.unwrap();
    }
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
    let purchases: Vec<_> = client
        .export(user())
        .purchases()
        .try_collect()
        .await
        .unwrap();
    assert!(
        purchases
            .iter()
            .eq(&(0..COUNT).rev().map(bought).collect::<Vec<_>>())
    );
    let oldest = client.export(user()).oldest_first();
    let purchases: Vec<_> = oldest.clone().purchases().try_collect().await.unwrap();
    assert_eq!((purchases.len(), &purchases[0]), (2_500, &bought(0)));

    let lines = text(oldest.clone().ndjson()).await;
    let first: Purchase = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((lines.lines().count(), first), (2_500, bought(0)));
    let rows = text(oldest.clone().csv()).await;
    assert!(
        rows.starts_with("id,username,userid,price,timestamp,item,"),
        "{rows:.100}"
    );
    assert_eq!(rows.lines().count(), 2_501);

    let range = TimeRange::new(Some(bought(10).timestamp), Some(bought(12).timestamp)).unwrap();
    let some: Vec<_> = oldest
        .within(range)
        .purchases()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(some, [bought(10), bought(11)]);
    let none = client.export(Selector::User("u2".parse().unwrap()));
    assert_eq!(none.clone().purchases().count().await, 0);
    assert_eq!(text(none.csv()).await.lines().count(), 1);
    assert_eq!(script.seen().len(), 7, "one request for each");
    let error = client
        .export(Selector::All)
        .purchases()
        .try_next()
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.status()),
        (ErrorKind::Denied, Some(403))
    );
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_an_error() {
    let (client, script) = client().await;
    script.then(3, || Turn::CutAfter(1));
    let purchases: Vec<_> = client.export(user()).purchases().collect().await;
    let (last, before) = purchases.split_last().unwrap();
    assert!(!before.is_empty() && before.iter().all(Result::is_ok));
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    for parts in [client.export(user()).csv(), client.export(user()).ndjson()] {
        let parts: Vec<_> = parts.collect().await;
        assert_eq!(
            parts.last().unwrap().as_ref().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
    assert_eq!(script.seen().len(), 3, "what was begun is not repeated");
    // The beginning is.
    script.then(2, || Turn::Say(refusal(503, &[], "")));
    assert_eq!(client.export(user()).purchases().count().await, 2_500);
}

/// A response of these lines, which continues as `rest` does.
fn lines(lines: &str, rest: impl stream::Stream<Item = Bytes> + Send + 'static) -> Turn {
    let body = stream::iter([Bytes::from(lines.to_owned())])
        .chain(rest)
        .map(Ok::<_, std::io::Error>);
    let response: Response = (
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(body),
    )
        .into_response();
    Turn::Say(response)
}

#[tokio::test(start_paused = true)]
async fn listings_of_another_server_are_errors() {
    let one = serde_json::to_string(&bought(1)).unwrap();
    let flood = || stream::repeat(Bytes::from("x".repeat(4 << 10)));
    for turn in [
        lines(&format!("{one}\n{one:.30}"), stream::empty()),
        lines(&format!("{one}\n{{}}\n{one}\n"), stream::empty()),
        lines(&format!("{one}\n"), flood()),
        // A service that does not know the type, or a proxy.
        Turn::Say(([(header::CONTENT_TYPE, "application/json")], "{}").into_response()),
        Turn::Say(refusal(200, &[], "")),
    ] {
        let script = Script::new([turn]);
        let client = script.client().await;
        let mut purchases = client.export(user()).purchases();
        let error = loop {
            match purchases.next().await.unwrap() {
                Ok(purchase) => assert_eq!(purchase, bought(1)),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(purchases.next().await.is_none(), "nothing follows an error");
    }
    // A connection that becomes silent.
    let script = Script::new([lines(&format!("{one}\n"), stream::pending())]);
    let builder = script.builder().await.query_timeout(Duration::from_secs(5));
    let client = builder.build().unwrap();
    let start = Instant::now();
    let mut purchases = client.export(user()).purchases();
    assert_eq!(purchases.next().await.unwrap().unwrap(), bought(1));
    assert_eq!(
        purchases.next().await.unwrap().unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert!(start.elapsed() >= Duration::from_secs(5) && purchases.next().await.is_none());
}

//! `/v1/purchases/events`, with a running ingest.

use axum::body::BodyDataStream;
use axum::http::{Request, header};
use futures_util::StreamExt;
use shop_core::feed::{FeedOptions, PurchaseFeed};
use shop_core::log::GroupPositions;

use crate::prelude::*;
use crate::shop::StoppedClock;

/// A shop with a running ingest, whose services follow its log.
pub(crate) fn shop_with_feed(options: FeedOptions) -> (Shop, PurchaseFeed) {
    let mut shop = Shop::new();
    shop.ingest();
    let log = Arc::new(shop.log.clone());
    let positions = Arc::new(GroupPositions {
        log: Arc::clone(&log) as _,
        group: "group".into(),
    });
    let store = Arc::new(shop.store.clone());
    let feed = PurchaseFeed::with_options(log, positions, Arc::clone(&store) as _, options);

    let with_feed = |mut parts: Parts| {
        parts.clock = Arc::new(StoppedClock);
        parts.purchases.as_mut().unwrap().feed = Some(feed.clone());
        router(parts, HttpOptions::default())
    };
    shop.facing = with_feed(Parts::facing(Arc::new(shop.log.sink()), store));
    shop.management = with_feed(management_parts_of(shop.store.clone()));
    (shop, feed)
}

async fn buy(shop: &Shop, user: &str) -> Value {
    let body = json!({"userid": user, "username": "ada", "price": 1.5}).to_string();
    let response = post(&shop.facing, "/v1/purchases", body).await;
    assert_eq!(response.status, StatusCode::CREATED, "{}", response.text);
    response.json()["purchase"].clone()
}

/// The events of a response.
struct Stream {
    body: BodyDataStream,
    text: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    purchase: Option<Value>,
}

async fn follow(router: &Router, path: &str, last: Option<&str>) -> Stream {
    let mut request = Request::get(path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    Stream {
        body: response.into_body().into_data_stream(),
        text: String::new(),
    }
}

impl Stream {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let purchase = field("data: ").map(|data| serde_json::from_str(data).unwrap());
                assert_eq!(field("event: "), purchase.as_ref().map(|_| "purchase"));
                let event = Event {
                    id: field("id: ").unwrap().to_owned(),
                    purchase,
                };
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn purchase(&mut self) -> Value {
        loop {
            if let Some(purchase) = self.next().await.unwrap().purchase {
                return purchase;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_reader_gets_the_purchases_of_its_selection() {
    let (shop, _feed) = shop_with_feed(FeedOptions::default());
    let mut mine = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    let mut named = follow(&shop.facing, "/v1/purchases/events?username=ada", None).await;
    let mut all = follow(&shop.management, "/v1/purchases/events?everyone=true", None).await;
    let start = mine.next().await.unwrap();
    assert_eq!(
        start.purchase, None,
        "the position before the first purchase"
    );
    let first = buy(&shop, "u1").await;
    let other = buy(&shop, "u2").await;
    let second = buy(&shop, "u1").await;
    for stream in [&mut named, &mut all] {
        for purchase in [&first, &other, &second] {
            assert_eq!(stream.purchase().await, *purchase);
        }
    }
    let event = mine.next().await.unwrap();
    assert_eq!(
        (event.purchase.as_ref(), mine.purchase().await),
        (Some(&first), second.clone())
    );
    let comment = mine.next().await.unwrap();
    assert_eq!(comment.purchase, None, "a comment, after 15 s");
    for (last, missed) in [(&start.id, &first), (&event.id, &second)] {
        let mut resumed = follow(&shop.facing, "/v1/purchases/events?userid=u1", Some(last)).await;
        assert_eq!(resumed.purchase().await, *missed);
    }
    let mut current = follow(
        &shop.facing,
        "/v1/purchases/events?userid=u1",
        Some(&comment.id),
    )
    .await;
    let third = buy(&shop, "u1").await;
    assert_eq!(current.purchase().await, third);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_an_hour_and_when_the_feed_is_closed() {
    let (shop, feed) = shop_with_feed(FeedOptions::default());
    let mut stream = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    let mut count = 0;
    while stream.next().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 240, "the start, and a comment every 15 s");
    let mut stream = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    stream.next().await.unwrap();
    feed.close();
    assert_eq!(stream.next().await, None);
    let closed = get(&shop.facing, "/v1/purchases/events?userid=u1").await;
    assert_eq!(closed.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_number_of_streams_is_limited() {
    let (shop, _feed) = shop_with_feed(FeedOptions::default().max_subscriptions(1));
    let path = "/v1/purchases/events?userid=u1";

    let first = follow(&shop.facing, path, None).await;
    let refused = get(&shop.facing, path).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);

    drop(first);
    follow(&shop.facing, path, Some("")).await;
}

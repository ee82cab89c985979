//! `/v1/purchases/events`, with a running ingest.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode, header};
use futures_util::StreamExt;
use serde_json::{Value, json};
use shop_core::feed::{FeedOptions, PurchaseFeed};
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::GroupPositions;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_http::{HttpOptions, Parts, router};
use tower::ServiceExt as _;

use crate::shop::{get, management_parts_of, post};

struct Shop {
    facing: Router,
    management: Router,
    feed: PurchaseFeed,
}

impl Shop {
    fn new(options: FeedOptions) -> Self {
        let log = InMemoryLog::default();
        let store = InMemoryStore::new();
        let source = Arc::new(log.source("group"));
        let dead_letters = Arc::new(log.dead_letters());
        let ingest = Ingest::new(
            source,
            Arc::new(store.clone()),
            dead_letters,
            IngestOptions::default(),
        );
        tokio::spawn(ingest.run(std::future::pending()));
        let admin = Arc::new(log.clone());
        let positions = Arc::new(GroupPositions {
            log: Arc::clone(&admin) as _,
            group: "group".into(),
        });
        let feed = PurchaseFeed::with_options(admin, positions, Arc::new(store.clone()), options);
        let mut parts = Parts::facing(Arc::new(log.sink()), Arc::new(store.clone()));
        parts.purchases.as_mut().unwrap().feed = Some(feed.clone());
        let mut operated = management_parts_of(store);
        operated.purchases.as_mut().unwrap().feed = Some(feed.clone());
        let options = HttpOptions::default();
        Self {
            facing: router(parts, options.clone()),
            management: router(operated, options),
            feed,
        }
    }

    async fn buy(&self, user: &str) -> Value {
        let body = json!({"userid": user, "username": "ada", "price": 1.5}).to_string();
        let response = post(&self.facing, "/v1/purchases", body.into_bytes()).await;
        assert_eq!(response.status, StatusCode::CREATED, "{}", response.text);
        response.json()["purchase"].clone()
    }
}

/// The events of a response.
pub(crate) struct Stream {
    body: BodyDataStream,
    text: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    purchase: Option<Value>,
}

pub(crate) async fn follow(router: &Router, path: &str, last: Option<&str>) -> Stream {
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

    pub(crate) async fn purchase(&mut self) -> Value {
        loop {
            if let Some(purchase) = self.next().await.unwrap().purchase {
                return purchase;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_reader_gets_the_purchases_of_its_selection() {
    let shop = Shop::new(FeedOptions::default());
    let mut mine = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    let mut named = follow(&shop.facing, "/v1/purchases/events?username=ada", None).await;
    let mut all = follow(&shop.management, "/v1/purchases/events?everyone=true", None).await;
    let start = mine.next().await.unwrap();
    assert_eq!(
        start.purchase, None,
        "the position before the first purchase"
    );
    let first = shop.buy("u1").await;
    let other = shop.buy("u2").await;
    let second = shop.buy("u1").await;
    for stream in [&mut named, &mut all] {
        for purchase in [&first, &other, &second] {
            assert_eq!(stream.purchase().await, *purchase);
        }
    }
    let positions = get(&shop.management, "/v1/purchases:positions").await;
    assert_eq!(
        positions.text,
        r#"{"positions":[{"partition":0,"next_offset":3}]}"#
    );
    assert_eq!(
        get(&shop.facing, "/v1/purchases:positions").await.status,
        StatusCode::NOT_FOUND
    );
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
    let third = shop.buy("u1").await;
    assert_eq!(current.purchase().await, third);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_an_hour_and_when_the_feed_is_closed() {
    let shop = Shop::new(FeedOptions::default());
    let mut stream = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    let mut count = 0;
    while stream.next().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 240, "the start, and a comment every 15 s");
    let mut stream = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    stream.next().await.unwrap();
    shop.feed.close();
    assert_eq!(stream.next().await, None);
    let closed = get(&shop.facing, "/v1/purchases/events?userid=u1").await;
    assert_eq!(closed.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn rejected_streams_name_a_remedy() {
    let shop = Shop::new(FeedOptions::default().max_subscriptions(1));
    let refused = |router: &Router, query: &str, last: Option<&str>| {
        let mut request = Request::get(format!("/v1/purchases/events{query}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap());
        async move { response.await.unwrap().status() }
    };
    for query in [
        "",
        "?userid=",
        "?userid=u1&username=ada",
        "?userid=u1&from=x",
        "?userid=u1&cursor=x",
    ] {
        assert_eq!(
            refused(&shop.facing, query, None).await,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{query}"
        );
    }
    assert_eq!(
        refused(&shop.facing, "?everyone=true", None).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        refused(&shop.facing, "?userid=u1", Some("rubbish")).await,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        refused(&shop.facing, "?userid=u1", Some("00000000.0-1")).await,
        StatusCode::GONE
    );
    // The header is used first, and empty ones are absent.
    for (header, query, expected) in [
        (None, "00000000.0-1", StatusCode::GONE),
        (Some(""), "00000000.0-1", StatusCode::GONE),
        (Some("00000000.0-1"), "rubbish", StatusCode::GONE),
        (None, "rubbish", StatusCode::UNPROCESSABLE_ENTITY),
        (Some(""), "", StatusCode::OK),
    ] {
        let query = format!("?userid=u1&lastEventId={query}");
        assert_eq!(
            refused(&shop.facing, &query, header).await,
            expected,
            "{header:?} {query}"
        );
    }
    let first = follow(&shop.facing, "/v1/purchases/events?userid=u1", None).await;
    assert_eq!(
        refused(&shop.facing, "?userid=u1", None).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop(first);
    assert_eq!(
        refused(&shop.facing, "?userid=u1", None).await,
        StatusCode::OK
    );
    let log = InMemoryLog::default();
    let store = InMemoryStore::new();
    let without = router(
        Parts::facing(Arc::new(log.sink()), Arc::new(store)),
        HttpOptions::default(),
    );
    assert_eq!(
        refused(&without, "?userid=u1", None).await,
        StatusCode::NOT_IMPLEMENTED
    );
}

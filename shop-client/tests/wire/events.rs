//! Events: the stream resumes by itself, or ends with an error that says what to do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use shop_client::{
    BearerToken, ErrorKind, FeedItem, HttpErrorExt, PurchaseId, Result, RetryPolicy, Shop,
    ShopClient,
};
use tokio::time::{Instant, sleep};

use crate::shop::{self, Script, Turn, ada, refusal};

/// A service with an ingest, and a shop on its log and store.
fn service() -> (shop::Shop, Shop) {
    let service = shop::Shop::new();
    service.ingest();
    let shop = Shop::new(service.log.sink(), service.store.clone());
    (service, shop)
}

async fn buy(shop: &Shop) -> PurchaseId {
    shop.buy(ada("1.50")).await.unwrap().receipt.id
}

async fn follow(
    client: &ShopClient,
) -> impl Stream<Item = Result<FeedItem>> + Send + Unpin + use<> {
    client.user("u1").events(None).await.unwrap()
}

async fn next(events: &mut (impl Stream<Item = Result<FeedItem>> + Unpin)) -> PurchaseId {
    let item = tokio::time::timeout(Duration::from_secs(86_400), events.next()).await;
    item.unwrap().unwrap().unwrap().purchase.id
}

/// A response of these events, which hangs afterwards.
fn hanging(events: String) -> Response {
    let events =
        stream::iter([Ok::<_, std::io::Error>(Bytes::from(events))]).chain(stream::pending());
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(events),
    )
        .into_response()
}

fn event(id: &str, purchase: u32) -> String {
    format!(
        r#"id: {id}
event: purchase
data: {{"id":"0190163d-8694-739b-aea5-{purchase:012}","username":"ada","userid":"u1","price":1,"timestamp":"2026-03-01T09:00:00Z"}}

"#
    )
}

#[tokio::test(start_paused = true)]
async fn a_stream_resumes_where_it_broke_with_a_valid_token() {
    let (service, shop) = service();
    let turns = [
        Turn::CutAfter(1),
        Turn::Say(refusal(503, &[], "")),
        Turn::CutAfter(2),
        Turn::CutAfter(3),
    ];
    let script = Script::new(turns);
    let count = AtomicUsize::new(0);
    let provider = move || {
        let token = BearerToken::new(format!("token-{}", count.fetch_add(1, Ordering::Relaxed)));
        async move { Ok(token?.expires_in(Duration::ZERO)) }
    };
    let client = script
        .before(service.router.clone())
        .await
        .token_provider(provider)
        .build()
        .unwrap();
    let mut events = follow(&client).await;
    let mut bought = Vec::new();
    for _ in 0..4 {
        bought.push(buy(&shop).await);
    }
    for id in bought {
        assert_eq!(next(&mut events).await, id);
    }
    let seen = script.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.header("accept") == "text/event-stream")
    );
    let values = |name| {
        seen.iter()
            .map(|seen| seen.header(name).to_owned())
            .collect::<Vec<_>>()
    };
    let positions = values("last-event-id");
    let mut tokens = values("authorization");
    let mut ids = values("x-request-id");
    // The comment at the beginning moves the position.
    assert_eq!(positions[0], "");
    assert!(
        positions[1].ends_with(".0-0") && positions[2] == positions[1],
        "{positions:?}"
    );
    assert!(
        positions[3].ends_with(".0-1") && positions[4].ends_with(".0-3"),
        "{positions:?}"
    );
    // The retry of a call has its id.
    ids.dedup();
    tokens.dedup();
    assert_eq!((tokens.len(), ids.len()), (5, 4));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_is_no_end() {
    let (service, shop) = service();
    let script = Script::new([]);
    let builder = script.before(service.router.clone()).await;
    let client = builder.retries(RetryPolicy::none()).build().unwrap();
    let mut events = follow(&client).await;
    // The service ends a stream after an hour.
    let late = tokio::spawn(async move {
        sleep(Duration::from_secs(5_400)).await;
        buy(&shop).await
    });
    assert_eq!(next(&mut events).await, late.await.unwrap());
    // The paused clock can be ahead of the sockets: then a connection counts as silent, and is renewed once more.
    assert!(script.seen().len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_a_call_is_waited_for() {
    let (service, shop) = service();
    let script = Script::new([Turn::CutAfter(1)]);
    let client = script.client_of(service.router.clone()).await;
    let mut events = follow(&client).await;
    script.then(60, || {
        Turn::Say(StatusCode::SERVICE_UNAVAILABLE.into_response())
    });
    let start = Instant::now();
    let bought = buy(&shop).await;
    assert_eq!(next(&mut events).await, bought);
    assert!(
        start.elapsed() > Duration::from_secs(60),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_renewed_and_nothing_is_repeated() {
    let first =
        event("c1", 1) + &event("c2", 2) + ": no purchase\nid: c3\n\n" + &event("c4", 3)[..40];
    let script =
        Script::new([first, event("c3", 2) + &event("c4", 3)].map(|text| Turn::Say(hanging(text))));
    let client = script.client().await;
    let mut events = follow(&client).await;
    let start = Instant::now();
    for purchase in 1..=3 {
        let id = format!("0190163d-8694-739b-aea5-{purchase:012}");
        assert_eq!(next(&mut events).await.to_string(), id);
    }
    assert!(
        start.elapsed() > Duration::from_secs(45),
        "{:?}",
        start.elapsed()
    );
    // An event that was cut off does not move the position.
    assert_eq!(script.seen()[1].header("last-event-id"), "c3");
}

#[tokio::test(start_paused = true)]
async fn permanent_refusals_end_the_stream() {
    let gone = r#"{"type":"/problems/cursor-expired","detail":"list the purchases"}"#;
    for (status, body, kind) in [
        (410, gone, ErrorKind::Expired),
        (403, "", ErrorKind::Denied),
        (401, "", ErrorKind::Denied),
        (404, "", ErrorKind::Unsupported),
        (501, "", ErrorKind::Unsupported),
    ] {
        let (service, _shop) = service();
        let refused = || Turn::Say(refusal(status, &[], body));
        let script = Script::new([refused(), Turn::CutAfter(1), refused()]);
        let client = script.client_of(service.router.clone()).await;
        let user = client.user("u1");
        let error = user.events(None).await.err().unwrap();
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
        let mut events = user.events(None).await.unwrap();
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.status()), (kind, Some(status)));
        assert!(
            status != 410 || error.message() == "list the purchases",
            "{error}"
        );
        assert!(events.next().await.is_none());
        assert_eq!(script.seen().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_another_server_are_errors() {
    let page = ([(header::CONTENT_TYPE, "text/html")], "<html>").into_response();
    let long = "x".repeat(65 << 10);
    for response in [
        page,
        StatusCode::OK.into_response(),
        hanging("id: c1\nevent: purchase\ndata: {}\n\n".to_owned()),
        hanging("id: a b\n\n".to_owned()),
        hanging(event("c1", 1).replace("id: c1\n", "")),
        hanging(long),
    ] {
        let script = Script::new([Turn::Say(response)]);
        let client = script.client().await;
        let error = client.user("u1").events(None).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(script.seen().len(), 1);
    }
    // A server that says nothing.
    let script = Script::new([Turn::Say(hanging(String::new()))]);
    let client = script.client().await;
    let error = client.user("u1").events(None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

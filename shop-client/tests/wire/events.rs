//! Events: the stream resumes by itself, or ends with an error that says what to do. The kit over HTTP
//! proves what a stream yields, and `responses/foreign.txt` which responses are errors.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::Stream;
use shop_client::{BearerToken, FeedItem, PurchaseId, Shop as AnyShop};

use crate::prelude::*;

const EVENTS: &str = "text/event-stream";

/// A service with an ingest, and a shop on its log and store.
fn service() -> (Shop, AnyShop) {
    let service = Shop::new();
    service.ingest();
    let shop = AnyShop::new(service.log.sink(), service.store.clone());
    (service, shop)
}

async fn buy(shop: &AnyShop) -> PurchaseId {
    shop.buy(ada("1.50")).await.unwrap().receipt.id
}

async fn follow(client: &ShopClient) -> impl Stream<Item = Result<FeedItem>> + Unpin + use<> {
    client.shop().user("u1").events(None).await.unwrap()
}

async fn next(events: &mut (impl Stream<Item = Result<FeedItem>> + Unpin)) -> PurchaseId {
    let item = tokio::time::timeout(Duration::from_secs(86_400), events.next()).await;
    item.unwrap().unwrap().unwrap().purchase.id
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
    let script = Script::new([Turn::CutAfter(1)]);
    // An outage that is longer than a call.
    script.then(60, || Turn::Say(refusal(503, &[], "")));
    script.then(1, || Turn::CutAfter(2));
    script.then(1, || Turn::CutAfter(3));
    let count = AtomicUsize::new(0);
    let provider = move || {
        let token = BearerToken::new(format!("token-{}", count.fetch_add(1, Ordering::Relaxed)));
        async move { Ok(token?.expires_in(Duration::ZERO)) }
    };
    let builder = script.before(service.router.clone()).await;
    let client = builder.token_provider(provider).build().unwrap();
    let start = Instant::now();
    let mut events = follow(&client).await;
    let mut bought = Vec::new();
    for _ in 0..4 {
        bought.push(buy(&shop).await);
    }
    for id in bought {
        assert_eq!(next(&mut events).await, id);
    }
    assert!(start.elapsed() > Duration::from_secs(60));

    // The comment at the beginning moves the position.
    let mut positions = script.headers("last-event-id");
    positions.dedup();
    let ends = ["", ".0-0", ".0-1", ".0-3"];
    let is_expected = positions
        .iter()
        .zip(ends)
        .all(|(position, end)| position.ends_with(end));
    assert!(is_expected && positions.len() == 4, "{positions:?}");
    let mut tokens = script.headers("authorization");
    tokens.dedup();
    assert_eq!(tokens.len(), script.seen().len());
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_renewed_and_nothing_is_repeated() {
    let first =
        event("c1", 1) + &event("c2", 2) + ": no purchase\nid: c3\n\n" + &event("c4", 3)[..40];
    let second = event("c3", 2) + &event("c4", 3);
    let script = Script::new([first, second].map(|events| silent_after(EVENTS, events)));
    let client = script.client().await;
    let mut events = follow(&client).await;
    let start = Instant::now();
    for purchase in 1..=3 {
        let id = format!("0190163d-8694-739b-aea5-{purchase:012}");
        assert_eq!(next(&mut events).await.to_string(), id);
    }
    assert!(start.elapsed() > Duration::from_secs(45));
    // An event that was cut off does not move the position.
    assert_eq!(script.headers("last-event-id"), ["", "c3"]);

    let script = Script::new([silent_after(EVENTS, String::new())]);
    let error = script
        .client()
        .await
        .shop()
        .user("u1")
        .events(None)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "no first event");
}

/// The service ends a stream after an hour.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_a_permanent_refusal_and_not_with_its_connection() {
    let gone = r#"{"type":"/problems/cursor-expired","detail":"list the purchases"}"#;
    let script = Script::new([Turn::Pass, Turn::Say(refusal(410, &[], gone))]);
    let (service, _shop) = service();
    let builder = script.before(service.router).await;
    let client = builder.retries(RetryPolicy::none()).build().unwrap();
    let mut events = follow(&client).await;

    let error = events.next().await.unwrap().unwrap_err();
    let found = (error.kind(), error.message());
    assert_eq!(found, (ErrorKind::Expired, "list the purchases"));
    assert!(events.next().await.is_none());
}

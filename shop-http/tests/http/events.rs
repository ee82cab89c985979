//! `/v1/purchases/events`, with a running ingest. `scenarios/events.http` shows what a stream has.

use shop_core::feed::{FeedOptions, PurchaseFeed};
use shop_core::log::GroupPositions;
use tokio::time::Instant;

use crate::prelude::*;
use crate::shop::StoppedClock;

/// A shop with a running ingest, whose services follow its log, and are built by `build`.
pub(crate) fn shop_with_feed(
    options: FeedOptions,
    build: impl Fn(Parts) -> Router,
) -> (Shop, PurchaseFeed) {
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
        build(parts)
    };
    shop.facing = with_feed(Parts::facing(Arc::new(shop.log.sink()), store));
    shop.management = with_feed(management_parts_of(shop.store.clone()));
    (shop, feed)
}

#[tokio::test(start_paused = true)]
async fn streams_are_limited_in_number_and_end_when_the_feed_is_closed() {
    let one = FeedOptions::default().max_subscriptions(1);
    let (shop, feed) = shop_with_feed(one, |parts| router(parts, HttpOptions::default()));
    let follow = async || {
        let path = "/v1/purchases/events?userid=u1";
        let follow = request(Method::GET, path, &[], Body::empty());
        shop.facing.clone().oneshot(follow).await.unwrap()
    };

    let first = follow().await;
    assert_eq!(first.status(), 200);
    assert_eq!(follow().await.status(), 503);
    drop(first);
    let second = follow().await;
    assert_eq!(second.status(), 200);

    feed.close();
    let closed_at = Instant::now();
    second.into_body().collect().await.unwrap();
    assert_eq!(closed_at.elapsed(), Duration::ZERO);
    assert_eq!(follow().await.status(), 503);
}

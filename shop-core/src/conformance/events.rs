//! The tests of [`PurchaseEvents`](crate::ports::PurchaseEvents), by those of a whole [`Shop`].

use futures_util::Stream;

use super::prelude::*;
use super::shop::{buy, order_of};
use crate::UserPurchases;
use crate::feed::{FeedCursor, FeedItem};

/// Returns a shop that has events. One without a log says that it has none.
async fn shop_with_events(fixture: &dyn ShopFixture) -> Option<Shop> {
    let shop = fixture.shop().await;
    if fixture.feed().await.is_some() {
        return Some(shop);
    }
    let refused = shop.user("u1").events(None).await.err();
    assert_eq!(refused.expect("an error").kind(), ErrorKind::Unsupported);
    None
}

/// Buys order `number` of `buyer`, whose name is "ada".
async fn buy_order(shop: &Shop, buyer: &str, number: u64) -> PurchaseId {
    buy(shop, order_of(buyer, "1.50", &format!("order-{number}")))
        .await
        .receipt
        .id
}

/// Follows `selection` from `cursor`, stored as text.
async fn follow(
    selection: UserPurchases,
    cursor: Option<&FeedCursor>,
) -> impl Stream<Item = Result<FeedItem>> + Unpin {
    let cursor = cursor.map(|cursor| cursor.to_string().parse().expect("a cursor"));
    succeed(selection.events(cursor)).await
}

/// Returns the next `count` events of `stream`.
#[track_caller]
fn take(
    stream: &mut (impl Stream<Item = Result<FeedItem>> + Unpin),
    count: usize,
) -> impl Future<Output = Vec<FeedItem>> {
    succeed(async move {
        let mut items = Vec::new();
        while items.len() < count {
            items.push(stream.try_next().await?.expect("the stream is open"));
        }
        Ok(items)
    })
}

fn ids_of_items(items: &[FeedItem]) -> Vec<PurchaseId> {
    items.iter().map(|item| item.purchase.id).collect()
}

/// Each purchase of the selection is yielded once and in order, also if it is bought again.
pub async fn purchases_are_yielded_in_order_and_once(fixture: &dyn ShopFixture) {
    let Some(shop) = shop_with_events(fixture).await else {
        return;
    };
    let mut mine = follow(shop.user("u1"), None).await;
    let mut named = follow(shop.user_with_name("ada"), None).await;
    let mut expected = Vec::new();
    let mut of_both = BTreeSet::new();
    for number in 0..5 {
        let id = buy_order(&shop, "u1", number).await;
        expected.push(id);
        of_both.extend([id, buy_order(&shop, "u2", number).await]);
        assert_eq!(buy_order(&shop, "u1", number).await, id);
    }
    let items = take(&mut mine, 5).await;
    assert_eq!(ids_of_items(&items), expected);
    for item in items {
        let stored = succeed(shop.get(&item.purchase.id)).await;
        assert_eq!(stored, Some(item.purchase), "it is listed");
    }
    let items = take(&mut named, 10).await;
    assert_eq!(BTreeSet::from_iter(ids_of_items(&items)), of_both);
}

/// A cursor, stored as text, continues behind its event at any process, and yields nothing that was
/// yielded before, of none of several users. So does a position that was read before anything is
/// bought.
pub async fn a_cursor_yields_exactly_the_rest(fixture: &dyn ShopFixture) {
    let Some(shop) = shop_with_events(fixture).await else {
        return;
    };
    let start = succeed(shop.user_with_name("ada").events_position()).await;
    let mut stream = follow(shop.user_with_name("ada"), None).await;
    let mut all = BTreeSet::new();
    for number in 0..12 {
        all.insert(buy_order(&shop, &format!("u{}", number % 4), number).await);
    }
    let items = take(&mut stream, 12).await;
    let mut cursors = vec![start];
    cursors.extend(items.iter().map(|item| item.cursor.clone()));
    drop(stream);

    let other = fixture.shop().await;
    for (number, shop) in (12..).zip([&shop, &other]) {
        let mut streams = Vec::new();
        for cursor in &cursors {
            streams.push(follow(shop.user_with_name("ada"), Some(cursor)).await);
        }
        // Nothing is repeated before the next one.
        all.insert(buy_order(shop, "u0", number).await);
        for (yielded, mut stream) in streams.into_iter().enumerate() {
            let mut rest = all.clone();
            for id in ids_of_items(&items[..yielded]) {
                rest.remove(&id);
            }
            let items = take(&mut stream, rest.len()).await;
            assert_eq!(
                BTreeSet::from_iter(ids_of_items(&items)),
                rest,
                "after {yielded}"
            );
        }
    }
}

/// A cursor of another log has expired, and a text that is none is invalid.
pub async fn a_foreign_cursor_is_refused(fixture: &dyn ShopFixture) {
    let Some(shop) = shop_with_events(fixture).await else {
        return;
    };
    for (cursor, kind) in [
        ("rubbish", ErrorKind::Invalid),
        ("00000000.0-1", ErrorKind::Expired),
    ] {
        let after = cursor.parse().expect("visible ASCII");
        let error = fail(shop.user("u1").events(Some(after))).await;
        assert_eq!(error.kind(), kind, "{cursor}");
    }
}

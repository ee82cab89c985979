//! The tests of [`PurchaseEvents`](crate::ports::PurchaseEvents), by those of a whole [`Shop`].

use futures_util::{Stream, StreamExt};

use super::ShopFixture;
use super::fixture::soon;
use crate::feed::{FeedCursor, FeedItem};
use crate::{ErrorKind, NewPurchase, PurchaseId, Result, Shop};

type Items = Box<dyn Stream<Item = Result<FeedItem>> + Send + Unpin>;

/// A shop that has events. One without a log says that it has none.
async fn shop_with_events(fixture: &dyn ShopFixture) -> Option<Shop> {
    let shop = fixture.shop().await;
    if fixture.feed().await.is_some() {
        return Some(shop);
    }
    let refused = shop.user("u1").events(None).await.err();
    assert_eq!(refused.expect("an error").kind(), ErrorKind::Unsupported);
    None
}

async fn follow(shop: &Shop, after: Option<FeedCursor>) -> Items {
    let user = shop.user("u1");
    Box::new(soon("follow", user.events(after)).await.expect("events"))
}

async fn next(items: &mut (impl Stream<Item = Result<FeedItem>> + Unpin)) -> FeedItem {
    soon("a purchase", items.next())
        .await
        .expect("the stream is open")
        .expect("a purchase")
}

async fn buy(shop: &Shop, user: &str, key: &str) -> PurchaseId {
    let new = NewPurchase::for_user(user)
        .with_user_name("ada")
        .with_price("1.50")
        .unwrap()
        .with_key(key)
        .unwrap();
    soon("buy", shop.buy(new)).await.expect("buy").receipt.id
}

/// Each purchase of the selection is yielded once and in order, also if it is bought again.
pub async fn purchases_are_yielded_in_order_and_once(fixture: &dyn ShopFixture) {
    let Some(shop) = shop_with_events(fixture).await else {
        return;
    };
    let mut mine = follow(&shop, None).await;
    let mut named = shop
        .user_with_name("ada")
        .events(None)
        .await
        .expect("events");
    let mut expected = Vec::new();
    for number in 0..5 {
        let key = format!("order-{number}");
        expected.push(buy(&shop, "u1", &key).await);
        buy(&shop, "u2", &key).await;
        assert_eq!(buy(&shop, "u1", &key).await, expected[number]);
    }
    for id in expected {
        let purchase = next(&mut mine).await.purchase;
        assert_eq!(purchase.id, id);
        assert_eq!(
            shop.get(&id).await.expect("get"),
            Some(purchase),
            "it is listed"
        );
    }
    let mut count = [0; 2];
    for _ in 0..10 {
        count[usize::from(next(&mut named).await.purchase.user_id.as_str() == "u2")] += 1;
    }
    assert_eq!(count, [5, 5]);
}

/// A cursor, stored as text, continues behind its event at another process, and yields nothing that
/// was yielded before.
pub async fn a_cursor_yields_exactly_the_rest(fixture: &dyn ShopFixture) {
    let Some(shop) = shop_with_events(fixture).await else {
        return;
    };
    let mut items = follow(&shop, None).await;
    let mut bought = Vec::new();
    for number in 0..3 {
        bought.push(buy(&shop, "u1", &format!("order-{number}")).await);
    }
    let mut cursors = Vec::new();
    for id in &bought {
        let item = next(&mut items).await;
        assert_eq!(item.purchase.id, *id);
        cursors.push(item.cursor.to_string());
    }
    drop(items);
    bought.push(buy(&shop, "u1", "order-3").await);
    let other = fixture.shop().await;
    for (yielded, cursor) in (1..).zip(&cursors) {
        let mut rest = follow(&other, Some(cursor.parse().expect("a cursor"))).await;
        for id in &bought[yielded..] {
            assert_eq!(next(&mut rest).await.purchase.id, *id);
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
        let refused = soon("follow", shop.user("u1").events(Some(after))).await;
        assert_eq!(refused.err().expect("an error").kind(), kind, "{cursor}");
    }
}

/// A position that was read before anything is bought continues with the first purchase, also at
/// another process.
pub async fn a_position_yields_what_follows(fixture: &dyn ShopFixture) {
    let Some(shop) = shop_with_events(fixture).await else {
        return;
    };
    let start = soon("position", shop.user("u1").events_position())
        .await
        .expect("a position");
    let bought = [
        buy(&shop, "u1", "order-0").await,
        buy(&shop, "u1", "order-1").await,
    ];
    let other = fixture.shop().await;
    let mut rest = follow(&other, Some(start.to_string().parse().expect("a cursor"))).await;
    for id in bought {
        assert_eq!(next(&mut rest).await.purchase.id, id);
    }
}

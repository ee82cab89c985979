//! The tests of every [`PurchaseErase`].

use async_trait::async_trait;

use super::prelude::*;
use crate::ports::{CurrencyStore, Deletion, PurchaseErase};

/// A fresh store from which purchases can be erased.
#[async_trait]
pub trait EraseFixture: StoreFixture {
    /// Returns the erasing port.
    async fn erase(&self) -> Arc<dyn PurchaseErase>;

    /// Returns the port of the store's currency.
    async fn currency(&self) -> Arc<dyn CurrencyStore>;
}

#[track_caller]
pub(super) fn erase(
    fixture: &dyn EraseFixture,
    of: &str,
    limit: usize,
) -> impl Future<Output = u64> {
    succeed(async move {
        let removed = fixture.erase().await.erase(&user(of), limit).await?;
        assert!(removed.left.is_empty(), "{}", removed.left);
        Ok(removed.count)
    })
}

#[track_caller]
pub(super) fn mark(fixture: &dyn EraseFixture, ids: &[PurchaseId]) -> impl Future<Output = u64> {
    succeed(async move { fixture.erase().await.mark_erased(ids).await })
}

#[track_caller]
pub(super) fn delete_before(
    fixture: &dyn EraseFixture,
    time: Timestamp,
    limit: usize,
) -> impl Future<Output = u64> {
    succeed(async move {
        let removed = fixture
            .erase()
            .await
            .delete_before(time, limit, Deletion::Delete)
            .await?;
        assert!(removed.left.is_empty(), "{}", removed.left);
        Ok(removed.count)
    })
}

/// Purchases of the user only are erased, up to the limit, and once. Listings, sums and scans do not
/// include them, and they do not come back, whatever their id. The user may buy again.
pub async fn purchases_of_the_user_are_erased(fixture: &dyn EraseFixture) {
    let mut left = purchases(0..30);
    if fixture.capabilities().object_ids {
        left[1].id = PurchaseId::from_object_id([7; 12]);
    }
    let erased = left[1].clone();
    insert(fixture, &left).await;
    for (of, limit, expected) in [
        ("unknown", 100, 0),
        ("user-2", 0, 0),
        ("user-1", 4, 4),
        ("user-1", 4, 2),
        ("user-1", 4, 0),
    ] {
        assert_eq!(erase(fixture, of, limit).await, expected, "{of}");
    }
    left.retain(|purchase| purchase.user_id != erased.user_id);
    assert_eq!(insert_one(fixture, &erased).await, "e");
    let later = purchase_of("user-1", 31);
    assert_eq!(insert_one(fixture, &later).await, "i");
    left.push(later);

    let query = fixture.query().await;
    for selector in [
        Selector::All,
        of_user("user-1"),
        of_name("name of user-1"),
        of_user("user-2"),
        of_name("name of user-2"),
    ] {
        assert_listed(&query, &selector, &selected(&left, &selector)).await;
    }
    assert_eq!(scanned(&query).await, ids_of(&left));
}

/// A marked purchase is never stored, whatever its content, also one that is in the log and not
/// stored yet. A mark for a stored purchase has no effect. Marks of erased purchases, and of those
/// that were never stored, are found.
pub async fn a_marked_purchase_is_never_stored(fixture: &dyn EraseFixture) {
    insert(fixture, &purchases(0..2)).await;
    erase(fixture, "user-1", 100).await;
    for (numbers, expected) in [(0..0, 0), (0..4, 2), (0..4, 0)] {
        let ids: Vec<_> = numbers.map(id).collect();
        assert_eq!(
            mark(fixture, &ids).await,
            expected,
            "0 is stored, and 1 erased"
        );
    }
    let mut batch = purchases(0..5);
    batch.extend([1, 2].map(|number| contradicting(&purchase(number))));
    assert_eq!(insert(fixture, &batch).await, "deeeiee");
    let query = fixture.query().await;
    for (number, expected) in [
        (0, Lookup::Stored(purchase(0))),
        (1, Lookup::Erased),
        (2, Lookup::Erased),
        (4, Lookup::Stored(purchase(4))),
        (5, Lookup::Missing),
    ] {
        assert_eq!(
            succeed(query.look_up(&id(number))).await,
            expected,
            "{number}"
        );
    }
}

/// The oldest purchases are counted and deleted, up to the limit, and none at the time itself. A log
/// may deliver them again: they are stored again, and the next deletion deletes them again.
pub async fn the_oldest_purchases_are_deleted(fixture: &dyn EraseFixture) {
    let stored = purchases(0..10);
    insert(fixture, &stored).await;
    insert(fixture, &[purchase_of("erased", 20)]).await;
    erase(fixture, "erased", 100).await;
    let port = fixture.erase().await;
    let time = stored[6].timestamp;
    for (before, expected) in [(Timestamp::MAX, 10), (time, 6), (Timestamp::MIN, 0)] {
        let counted = succeed(port.delete_before(before, 100, Deletion::DryRun)).await;
        assert_eq!(counted.count, expected, "{before}");
    }
    let counted = succeed(port.delete_before(Timestamp::MAX, 3, Deletion::DryRun)).await;
    assert!(counted.count >= 3);

    let query = fixture.query().await;
    for (deleted, left) in [(4, &stored[4..]), (2, &stored[6..]), (0, &stored[6..])] {
        assert_eq!(delete_before(fixture, time, 4).await, deleted);
        assert_listed(&query, &Selector::All, left).await;
        assert_eq!(scanned(&query).await, ids_of(left));
    }
    assert_eq!(insert(fixture, &stored[..1]).await, "i");
    assert_eq!(delete_before(fixture, Timestamp::MAX, 100).await, 5);
    assert_listed(&query, &Selector::All, &[]).await;
}

/// The time that a round of retention has seen last is kept, also for other processes. A new store
/// has none.
pub async fn the_last_seen_time_is_kept(fixture: &dyn EraseFixture) {
    let port = fixture.erase().await;
    assert_eq!(succeed(port.last_seen(None)).await, None);
    for time in [at(1), at(2)] {
        assert_eq!(succeed(port.last_seen(Some(time))).await, Some(time));
        let other = fixture.erase().await;
        assert_eq!(succeed(other.last_seen(None)).await, Some(time));
    }
}

//! The tests of every [`PurchaseErase`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;

use super::StoreFixture;
use super::fixture::soon;
use super::sample::{id, purchase, purchase_of, purchases};
use super::store::{contradicting, outcome_codes};
use crate::ports::{
    CurrencyStore, Lookup, PageRequest, PurchaseErase, PurchaseQuery, PurchaseQueryExt, Selector,
};
use crate::retention::{Retention, RetentionOptions};
use crate::{Clock, Purchase, PurchaseId, Timestamp, Total, UserId, Uuid};

/// A fresh store from which purchases can be erased.
#[async_trait]
pub trait EraseFixture: StoreFixture {
    /// Returns the erasing port.
    async fn erase(&self) -> Arc<dyn PurchaseErase>;

    /// Returns the port of the store's currency.
    async fn currency(&self) -> Arc<dyn CurrencyStore>;
}

pub(super) fn user(text: &str) -> UserId {
    text.parse().unwrap()
}

pub(super) async fn insert(fixture: &dyn EraseFixture, batch: &[Purchase]) -> String {
    outcome_codes(
        &soon("insert", fixture.store().await.insert(batch.into()))
            .await
            .expect("insert"),
    )
}

pub(super) async fn get(fixture: &dyn EraseFixture, id: &PurchaseId) -> Option<Purchase> {
    soon("get", fixture.query().await.get(id))
        .await
        .expect("get")
}

pub(super) async fn erase(fixture: &dyn EraseFixture, of: &str, limit: usize) -> u64 {
    soon("erase", fixture.erase().await.erase(&user(of), limit))
        .await
        .expect("erase")
}

pub(super) async fn mark(fixture: &dyn EraseFixture, ids: &[PurchaseId]) -> u64 {
    soon("mark", fixture.erase().await.mark_erased(ids))
        .await
        .expect("mark")
}

pub(super) async fn delete_before(
    fixture: &dyn EraseFixture,
    time: Timestamp,
    limit: usize,
) -> u64 {
    soon("delete", fixture.erase().await.delete_before(time, limit))
        .await
        .expect("delete")
}

/// The ids of a scan of the whole store.
pub(super) async fn scanned(query: Arc<dyn PurchaseQuery>) -> Vec<PurchaseId> {
    let mut found = Vec::new();
    let mut scan = std::pin::pin!(query.scan_batches());
    while let Some(batch) = soon("scan", scan.try_next()).await.expect("scan") {
        assert_eq!(batch.unreadable, []);
        found.extend(batch.purchases.into_iter().map(|purchase| purchase.id));
        assert!(found.len() < 1_000, "the scan ends");
    }
    found.sort();
    found
}

/// Purchases of the user only, up to the limit.
pub async fn purchases_of_the_user_are_erased(fixture: &dyn EraseFixture) {
    let stored = purchases(0..30);
    insert(fixture, &stored).await;
    assert_eq!(erase(fixture, "user-1", 4).await, 4);
    assert_eq!(erase(fixture, "user-1", 4).await, 2);
    for purchase in &stored {
        let is_left = get(fixture, &purchase.id).await.as_ref() == Some(purchase);
        assert_eq!(is_left, purchase.user_id != user("user-1"), "{purchase:?}");
    }
}

/// Pages, summaries by user, by name and of all, and scans do not include them.
pub async fn erased_purchases_are_not_listed(fixture: &dyn EraseFixture) {
    insert(fixture, &purchases(0..20)).await;
    erase(fixture, "user-1", 100).await;
    mark(fixture, &[id(99)]).await;
    let left: Vec<Purchase> = purchases(0..20)
        .into_iter()
        .filter(|purchase| purchase.user_id != user("user-1"))
        .collect();
    let query = fixture.query().await;
    let name = |text: &str| Selector::Name(format!("name of {text}").parse().unwrap());
    let selectors = [
        Selector::All,
        Selector::User(user("user-1")),
        name("user-1"),
        Selector::User(user("user-2")),
        name("user-2"),
    ];
    for selector in selectors {
        let of: Vec<&Purchase> = left
            .iter()
            .filter(|purchase| selector.matches(purchase))
            .collect();
        let page = soon("page", query.page(&selector, &PageRequest::default()))
            .await
            .expect("page");
        assert_eq!(
            page.items.iter().rev().collect::<Vec<_>>(),
            of,
            "{selector:?}"
        );
        assert_eq!(page.next, None);
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        let total = of.iter().try_fold(Total::ZERO, |sum, purchase| {
            sum.checked_add_price(purchase.price)
        });
        assert_eq!(
            (summary.count, summary.total_spent),
            (of.len() as u64, total.unwrap()),
            "{selector:?}"
        );
    }
    assert_eq!(
        scanned(query).await,
        left.iter().map(|purchase| purchase.id).collect::<Vec<_>>()
    );
}

/// Without purchases of the user, nothing changes.
pub async fn erasing_again_changes_nothing(fixture: &dyn EraseFixture) {
    insert(fixture, &purchases(0..10)).await;
    assert_eq!(erase(fixture, "unknown", 100).await, 0);
    assert_eq!(erase(fixture, "user-1", 100).await, 2);
    assert_eq!(erase(fixture, "user-1", 100).await, 0);
    assert_eq!(erase(fixture, "user-2", 0).await, 0);
    assert_eq!(mark(fixture, &[id(1), id(50)]).await, 1);
    assert_eq!(mark(fixture, &[id(1), id(50)]).await, 0);
    assert_eq!(mark(fixture, &[]).await, 0);
}

/// The same record, or another one with its id, stores nothing, also in a batch with others.
pub async fn an_erased_purchase_does_not_come_back(fixture: &dyn EraseFixture) {
    let stored = purchases(0..10);
    insert(fixture, &stored).await;
    erase(fixture, "user-1", 100).await;
    let batch = [
        stored[1].clone(),
        purchase(20),
        contradicting(&stored[6]),
        stored[2].clone(),
    ];
    assert_eq!(insert(fixture, &batch).await, "eied");
    assert_eq!(
        (get(fixture, &id(1)).await, get(fixture, &id(6)).await),
        (None, None)
    );
    let object_id: PurchaseId = "65f0c0ffee0123456789abcd".parse().unwrap();
    if fixture.capabilities().object_ids {
        let legacy = Purchase {
            id: object_id,
            ..purchase(11)
        };
        assert_eq!(insert(fixture, std::slice::from_ref(&legacy)).await, "i");
        assert_eq!(erase(fixture, "user-1", 100).await, 1);
        assert_eq!(insert(fixture, &[legacy]).await, "e");
        assert_eq!(get(fixture, &object_id).await, None);
    }
}

/// A user may buy again.
pub async fn later_purchases_are_stored(fixture: &dyn EraseFixture) {
    insert(fixture, &[purchase_of("ada", 1)]).await;
    erase(fixture, "ada", 100).await;
    assert_eq!(insert(fixture, &[purchase_of("ada", 2)]).await, "i");
    let summary = soon(
        "summary",
        fixture.query().await.summary(&Selector::User(user("ada"))),
    )
    .await;
    assert_eq!(summary.expect("summary").count, 1);
}

/// Also a purchase that is in the log and not stored yet.
pub async fn a_marked_purchase_is_never_stored(fixture: &dyn EraseFixture) {
    assert_eq!(mark(fixture, &[id(1), id(2)]).await, 2);
    assert_eq!(insert(fixture, &purchases(0..4)).await, "ieei");
    assert_eq!(get(fixture, &id(1)).await, None);
}

/// A mark for a stored purchase has no effect.
pub async fn marking_does_not_change_stored_purchases(fixture: &dyn EraseFixture) {
    insert(fixture, &purchases(0..2)).await;
    assert_eq!(mark(fixture, &[id(0), id(1)]).await, 0);
    assert_eq!(get(fixture, &id(1)).await, Some(purchase(1)));
}

/// Marks of erased purchases and of ids that were never stored.
pub async fn marks_are_found(fixture: &dyn EraseFixture) {
    insert(fixture, &purchases(0..3)).await;
    erase(fixture, "user-1", 100).await;
    mark(fixture, &[id(7)]).await;
    let query = fixture.query().await;
    let expected = [
        Lookup::Stored(purchase(0)),
        Lookup::Erased,
        Lookup::Erased,
        Lookup::Missing,
    ];
    let ids = [0, 1, 7, 8].map(id);
    for (id, expected) in ids.iter().zip(&expected) {
        let found = soon("look up", query.look_up(id)).await.expect("look up");
        assert_eq!(found, *expected);
    }
}

/// Oldest first, up to the limit, and none at the time itself.
pub async fn the_oldest_purchases_are_deleted(fixture: &dyn EraseFixture) {
    let stored = purchases(0..10);
    insert(fixture, &stored).await;
    let time = stored[6].timestamp;
    assert_eq!(delete_before(fixture, time, 4).await, 4);
    let query = fixture.query().await;
    let ids = |range: std::ops::Range<usize>| {
        stored[range]
            .iter()
            .map(|purchase| purchase.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(scanned(Arc::clone(&query)).await, ids(4..10));
    assert_eq!(delete_before(fixture, time, 4).await, 2);
    assert_eq!(delete_before(fixture, time, 4).await, 0);
    assert_eq!(scanned(Arc::clone(&query)).await, ids(6..10));
    let summary = soon("summary", query.summary(&Selector::All))
        .await
        .expect("summary");
    let total = stored[6..].iter().try_fold(Total::ZERO, |sum, purchase| {
        sum.checked_add_price(purchase.price)
    });
    assert_eq!((summary.count, summary.total_spent), (4, total.unwrap()));
}

/// A log may deliver it again. The next deletion deletes it again.
pub async fn a_deleted_purchase_may_be_stored_again(fixture: &dyn EraseFixture) {
    insert(fixture, &purchases(0..2)).await;
    assert_eq!(delete_before(fixture, Timestamp::MAX, 100).await, 2);
    assert_eq!(insert(fixture, &[purchase(1)]).await, "i");
    assert_eq!(get(fixture, &id(1)).await, Some(purchase(1)));
    assert_eq!(delete_before(fixture, Timestamp::MAX, 100).await, 1);
    assert_eq!(get(fixture, &id(1)).await, None);
}

/// Those before the time, up to the limit.
pub async fn old_purchases_are_counted(fixture: &dyn EraseFixture) {
    let stored = purchases(0..10);
    insert(fixture, &stored).await;
    erase(fixture, "user-1", 100).await;
    let erase = fixture.erase().await;
    for (time, limit, expected) in [
        (Timestamp::MAX, 100, 8),
        (stored[6].timestamp, 100, 5),
        (Timestamp::MIN, 100, 0),
    ] {
        assert_eq!(
            soon("count", erase.count_before(time, limit))
                .await
                .expect("count"),
            expected
        );
    }
    assert!(
        soon("count", erase.count_before(Timestamp::MAX, 3))
            .await
            .expect("count")
            >= 3
    );
}

#[derive(Debug)]
struct ClockAt(Timestamp);

impl Clock for ClockAt {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::nil()
    }
}

/// A process whose clock is years ahead, or behind what another one has seen, deletes nothing at
/// its start. One whose clock is right again deletes what is old.
pub async fn a_clock_that_jumps_deletes_nothing(fixture: &dyn EraseFixture) {
    let stored = purchases(0..10);
    let now = stored[9].timestamp;
    let day = Duration::from_secs(24 * 3_600);
    let round = async |now: Timestamp, keep: Duration| {
        let mut options = RetentionOptions::new(keep);
        options.clock = Arc::new(ClockAt(now));
        let mut retention = Retention::new(fixture.erase().await, options);
        soon("a round", retention.run_round())
            .await
            .expect("a round");
        let monitor = retention.monitor();
        let erase = fixture.erase().await;
        let [deleted, due] =
            [&monitor.deleted, &monitor.due].map(|count| count.load(Ordering::Relaxed));
        (
            deleted,
            due,
            soon("last seen", erase.last_seen())
                .await
                .expect("last seen"),
        )
    };
    assert_eq!(
        soon("last seen", fixture.erase().await.last_seen())
            .await
            .expect("last seen"),
        None
    );
    assert_eq!(round(now, day * 30).await, (0, 0, Some(now)), "a new store");
    insert(fixture, &stored).await;
    let ahead = now.saturating_add(day * 1_000);
    assert_eq!(round(ahead, day * 730).await, (0, 10, Some(now)));
    assert_eq!(
        round(now.saturating_sub(day), Duration::ZERO).await.2,
        Some(now)
    );
    let later = now.saturating_add(day);
    assert_eq!(
        round(later, day).await,
        (9, 1, Some(later)),
        "all before its time, and the last one a minute later"
    );
}

//! The tests of every [`EntityStore`](crate::entity::EntityStore).

use super::prelude::*;
use futures_util::future::join_all;
use shop_core::conformance::declared;
use std::collections::BTreeSet;

/// Refused rows, taken keys and repeated rows leave no gaps.
pub async fn numbers_have_no_gaps<E: SampleEntity>(fixture: &dyn EntityFixture<E>) {
    let store = ready_store(fixture).await;
    let first = E::sample(1);
    assert_eq!(inserted(&*store, &first).await.number(), 1.into());
    for number in 2..5 {
        assert_eq!(insert(&*store, &E::refused()).await, Insertion::Refused);
        let other = &E::with_key_of(&first)[0];
        assert_eq!(insert(&*store, other).await, Insertion::KeyTaken);
        let again = insert(&*store, &first).await;
        assert!(matches!(again, Insertion::AlreadyInserted(_)));
        let next = inserted(&*store, &E::sample(number)).await;
        assert_eq!(next.number(), number.into());
    }
}

/// Concurrent rows get distinct numbers without gaps. Of users with one address, one is inserted.
pub async fn racing_inserts_leave_no_gap<E: SampleEntity>(fixture: &dyn EntityFixture<E>) {
    const SHARED: i64 = 0;
    let store = ready_store(fixture).await;
    let rows = (1..=60).map(|number| {
        let store = Arc::clone(&store);
        // Each third user shares an address.
        let new = E::sample(if number % 3 == 0 { SHARED } else { number });
        tokio::spawn(async move { insert(&*store, &new).await })
    });
    let mut numbers = BTreeSet::new();
    for insertion in join_all(rows).await {
        match insertion.unwrap() {
            Insertion::Inserted(row) => assert!(numbers.insert(row.number().into())),
            refused => assert_eq!(refused, Insertion::Refused),
        }
    }
    let is_unique = E::unique(&E::sample(SHARED)).is_some();
    let expected = if is_unique { 41 } else { 60 };
    assert_eq!(numbers, (1..=expected).collect());
}

/// An inserted row is found unchanged, an unknown number is not.
pub async fn an_inserted_row_is_found<E: SampleEntity>(fixture: &dyn EntityFixture<E>) {
    let store = ready_store(fixture).await;
    let (mut rows, legacy) = E::unusual();
    if declared(
        fixture.capabilities().legacy_rows,
        "rows that only the replaced systems accept",
    ) {
        rows.extend(legacy);
    }
    for new in rows {
        let row = inserted(&*store, &new).await;
        assert_eq!(row, E::with_number(&new, row.number()));
        let found = soon("get", store.get(row.number())).await.unwrap();
        assert_eq!(found, Some(row));
    }
    for unknown in [0, -1, 9, i64::MAX, i64::MIN] {
        let found = soon("get", store.get(unknown.into())).await.unwrap();
        assert_eq!(found, None);
    }
}

/// A repeated key with the same content returns the first row. A key with any other content is taken.
pub async fn a_key_belongs_to_one_row<E: SampleEntity>(fixture: &dyn EntityFixture<E>) {
    let store = ready_store(fixture).await;
    let new = E::sample(1);
    let row = inserted(&*store, &new).await;
    for other in E::with_key_of(&new) {
        assert_eq!(insert(&*store, &other).await, Insertion::KeyTaken);
        let again = insert(&*store, &new).await;
        assert_eq!(again, Insertion::AlreadyInserted(row.clone()));
    }
}

/// Events are in the order of the rows, with the context of their requests. Refused and repeated
/// rows have none.
pub async fn each_row_has_one_event<E: SampleEntity>(fixture: &dyn EntityFixture<E>) {
    let store = ready_store(fixture).await;
    let mut expected = Vec::new();
    for number in 1..=10 {
        let new = E::sample(number);
        let row = inserted(&*store, &new).await;
        expected.push(row.event(&new).unwrap());
        insert(&*store, &new).await;
        insert(&*store, &E::refused()).await;
    }
    let outbox = fixture.outbox().await;
    let pending = soon("pending", outbox.pending(10_000))
        .await
        .expect("pending");
    let events = pending.into_iter().map(|entry| entry.record);
    assert_eq!(events.collect::<Vec<_>>(), expected);
}

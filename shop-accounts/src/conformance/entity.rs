//! The tests of every [`EntityStore`](crate::entity::EntityStore).

use super::prelude::*;
use futures_util::future::join_all;
use shop_core::conformance::declared;
use std::collections::BTreeSet;

/// A new row takes the next number and has one event, in the order of the rows, with the context of
/// its request. A repeated key with the same content returns the first row, and one with any other
/// content is taken. Neither these nor refused rows take a number or have an event.
pub async fn only_new_rows_take_a_number_and_have_an_event<E: SampleEntity>(
    ports: &EntityPorts<E>,
) {
    let store = ready_store(ports).await;
    let new = E::sample(1);
    let first = inserted(&*store, &new).await;
    assert_eq!(first.number(), 1.into());
    let mut events = vec![first.event(&new).unwrap()];
    for number in 2..=5 {
        assert_eq!(insert(&*store, &E::refused()).await, Insertion::Refused);
        for other in E::with_key_of(&new) {
            assert_eq!(insert(&*store, &other).await, Insertion::KeyTaken);
        }
        let again = insert(&*store, &new).await;
        assert_eq!(again, Insertion::AlreadyInserted(first.clone()));

        let next = E::sample(number);
        let row = inserted(&*store, &next).await;
        assert_eq!(row.number(), number.into());
        events.push(row.event(&next).unwrap());
    }
    let pending = pending(&*ports.outbox).await;
    let pending: Vec<_> = pending.into_iter().map(|entry| entry.record).collect();
    assert_eq!(pending, events);
}

/// Concurrent rows get distinct numbers without gaps. Of users with one address, one is inserted.
pub async fn racing_inserts_leave_no_gap<E: SampleEntity>(ports: &EntityPorts<E>) {
    const SHARED: i64 = 0;
    let store = ready_store(ports).await;
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
pub async fn an_inserted_row_is_found<E: SampleEntity>(ports: &EntityPorts<E>) {
    let store = ready_store(ports).await;
    let (mut rows, unchecked) = E::unusual();
    let accepts_unchecked = ports.capabilities.unchecked_rows;
    if declared(accepts_unchecked, "rows that /v1 refuses") {
        rows.extend(unchecked);
    }
    for new in rows {
        let row = inserted(&*store, &new).await;
        assert_eq!(row, E::with_number(&new, row.number()));
        assert_eq!(succeed(store.get(row.number())).await, Some(row));
    }
    for unknown in [0, -1, 9, i64::MAX, i64::MIN] {
        assert_eq!(succeed(store.get(unknown.into())).await, None);
    }
}

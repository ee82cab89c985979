//! The tests of a source's batches: their size in bytes, the timestamps of their records, and
//! revoked partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::fixture::{declared, sink_and_source, soon};
use super::log_calls::{GROUP, ids, next, publish, read, revocation_of};
use super::sample::{at, foreign, id, purchase_of};
use super::{BATCH_BYTES, LogFixture};
use crate::log::{LogRecord, SourceEvent};
use crate::record::decode;
use crate::{Purchase, PurchaseId, Timestamp};

/// A batch ends at the latest with the record that reaches the configured bytes.
pub async fn batches_respect_the_byte_limit(fixture: &dyn LogFixture) {
    if !declared(
        fixture.capabilities().foreign_records,
        "records of other producers",
    ) {
        return;
    }
    let quarters = [1, 1, 1, 1, 1, 1, 8, 1, 1];
    for quarters in quarters {
        let value = vec![b'x'; quarters * BATCH_BYTES / 4];
        let record = LogRecord::new(0, at(0), Some(value.into()));
        soon(
            "append",
            fixture.append(record.with_key(Some(Bytes::from_static(b"one")))),
        )
        .await;
    }
    let source = fixture.source(GROUP).await;
    for batch in read(&*source, quarters.len()).await {
        let before_last = &batch.records[..batch.records.len() - 1];
        let bytes: usize = before_last
            .iter()
            .flat_map(|record| &record.value)
            .map(Bytes::len)
            .sum();
        assert!(
            bytes < BATCH_BYTES,
            "{} records, full before the last of them",
            batch.records.len()
        );
    }
}

/// The timestamp and the id of each record.
type Known = BTreeMap<(u32, u64), (Timestamp, PurchaseId)>;

async fn known(fixture: &dyn LogFixture, count: usize) -> Known {
    let source = fixture.source(GROUP).await;
    let mut known = Known::new();
    for batch in read(&*source, count).await {
        for record in &batch.records {
            let purchase = decode(record, &batch.partition).expect("a purchase");
            known.insert(
                (batch.partition.index, record.offset),
                (record.time, purchase.id),
            );
        }
    }
    soon("close", source.close(Duration::from_secs(10)))
        .await
        .expect("close");
    known
}

/// The timestamp of a record, and with it a derived id, is the same at each delivery. Later records
/// have later timestamps.
pub async fn a_record_keeps_its_timestamp(fixture: &dyn LogFixture) {
    let sink = fixture.sink().await;
    let mut count = 2;
    for number in 0..2 {
        publish(&*sink, &[purchase_of("one", number)]).await;
        // Longer than the resolution of timestamps, one millisecond.
        sleep(Duration::from_millis(20)).await;
    }
    if declared(
        fixture.capabilities().foreign_records,
        "records of other producers",
    ) {
        for number in 2..5 {
            soon("append", fixture.append(foreign("one", number))).await;
            count += 1;
        }
    }
    let first = known(fixture, count).await;
    let time = |number| {
        first
            .values()
            .find(|(_, of)| *of == id(number))
            .map(|(time, _)| *time)
    };
    assert!(time(0) < time(1), "{first:?}");
    for _ in 0..2 {
        assert_eq!(known(fixture, count).await, first);
    }
}

/// One purchase per user for many users, so that every partition has some.
fn for_users(numbers: std::ops::Range<u64>) -> Vec<Purchase> {
    numbers
        .map(|number| purchase_of(&format!("user-{number}"), number))
        .collect()
}

/// After its revocation, nothing of a partition is delivered in that epoch.
pub async fn a_revoked_partition_delivers_nothing(fixture: &dyn LogFixture) {
    if !declared(fixture.capabilities().revokes, "revocations") {
        return;
    }
    let (sink, first) = sink_and_source(fixture, GROUP).await;
    publish(&*sink, &for_users(0..60)).await;
    // Joins the group and owns all partitions before the other member joins.
    read(&*first, 1).await;
    let second = fixture.source(GROUP).await;
    let revocation = revocation_of(&*first, &*second).await;
    publish(&*sink, &for_users(60..120)).await;
    let until = Instant::now() + revocation.timeout / 4;
    while let Ok(event) = timeout_at(until, first.next()).await {
        match event.expect("next") {
            SourceEvent::Batch(batch) => {
                assert!(
                    !revocation.partitions.contains(&batch.partition),
                    "{:?} was revoked",
                    batch.partition
                );
            }
            SourceEvent::Revoked(later) => later.done(),
            other => panic!("neither a batch nor a revocation, but {other:?}"),
        }
    }
    revocation.done();
    let mut missing = for_users(120..180)
        .into_iter()
        .map(|purchase| purchase.id)
        .collect::<Vec<_>>();
    publish(&*sink, &for_users(120..180)).await;
    while !missing.is_empty() {
        let event = tokio::select! {
            event = next(&*first) => event,
            event = next(&*second) => event,
        };
        match event {
            SourceEvent::Batch(batch) => {
                let new = ids(&[batch]);
                missing.retain(|id| !new.contains(id));
            }
            SourceEvent::Revoked(later) => later.done(),
            other => panic!("neither a batch nor a revocation, but {other:?}"),
        }
    }
}

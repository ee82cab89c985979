//! The tests of [`Ingest`](crate::ingest::Ingest) between any log and any store, under faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::fixture::{declared, soon};
use super::pipeline_calls::{
    Running, assert_redelivered, assert_stored, delivered_next, options, publish, short_drain,
    stored,
};
use super::sample::{at, foreign, id, price, purchase, purchase_of, purchases};
use super::{LogFixture, StoreFixture};
use crate::conformance::fault::{Call, Fault, Faults};
use crate::ingest::{Component, DeadLetterLimit, IngestOptions, Phase};
use crate::log::{
    Batch, DeadLetter, Headers, LogAdmin as _, LogRecord, Reason, ReasonKind, RecordPosition,
    Resolution,
};
use crate::ports::Selector;
use crate::record::{Record, decode, header};
use crate::verify::{Verify, VerifyOptions};
use crate::{Error, ErrorKind, Purchase, Total};

/// All acknowledged purchases are stored once, and a shutdown leaves nothing to be redelivered.
pub async fn everything_is_stored_once(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let all = purchases(0..100);
    publish(log, &all[..50]).await;
    let running = Running::start(log, store, &Faults::new()).await;
    publish(log, &all[50..]).await;
    running.ingested(100).await;
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted, tally.duplicates, tally.dead_lettered),
        (100, 0, 0)
    );
    assert_stored(&*store.query().await, &all).await;
    assert_eq!(
        delivered_next(log, &[purchase(100)]).await,
        BTreeSet::from([id(100)])
    );
}

/// Redelivered purchases are stored once.
pub async fn redelivery_stores_once(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.always(Call::Next, Fault::DeliverTwice);
    let all = purchases(0..60);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    running.ingested(120).await;
    running.end().await;
    assert_stored(&*store.query().await, &all).await;
    assert_eq!(log.pending_dead_letters().await.len(), 0);
}

/// While the store is unavailable nothing is dead-lettered, and all purchases are stored when it
/// recovers.
pub async fn an_outage_is_waited_for(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::unavailable());
    let all = purchases(0..200);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    let failing = |count: u64| {
        let faults = faults.clone();
        running.monitor.wait_for(move |status| {
            status.errors.contains_key(&Component::Store) && faults.calls(Call::Insert) >= count
        })
    };
    let status = soon("notice the outage", failing(1)).await;
    assert!(
        status.in_flight <= options().max_in_flight_batches,
        "what is in flight is bounded"
    );
    assert_eq!(status.phase, Phase::Running);
    faults.clear(Call::Insert);
    running.ingested(200).await;
    let status = soon(
        "recover",
        running.monitor.wait_for(|status| status.errors.is_empty()),
    )
    .await;
    assert_eq!(status.counters.dead_lettered, 0);
    running.end().await;
    assert_stored(&*store.query().await, &all).await;
    assert_eq!(log.pending_dead_letters().await.len(), 0);
}

/// An insert with unknown outcomes, for all or half of its purchases, is retried for those that are
/// unknown.
pub async fn unknown_outcomes_are_retried(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    for fault in [
        Fault::LoseAnswer,
        Fault::PartialInsert,
        Fault::unavailable(),
        Fault::PartialInsert,
        Fault::LoseAnswer,
    ] {
        faults.once(Call::Insert, fault);
    }
    let all = purchases(0..40);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    running.ingested(40).await;
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted + tally.duplicates, tally.dead_lettered),
        (40, 0)
    );
    assert_stored(&*store.query().await, &all).await;
}

/// After a crash between insert and commit all records are redelivered, and none is stored twice.
pub async fn a_crash_before_commit_duplicates_nothing(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let faults = Faults::new();
    faults.always(Call::Commit, Fault::unavailable());
    let all = purchases(0..30);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    running.ingested(30).await;
    running.crash().await;
    // The faults of the first run stay active: a commit in flight must not succeed now.
    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(30).await;
    let tally = running.end().await;
    assert_eq!((tally.inserted, tally.duplicates), (0, 30));
    assert_stored(&*store.query().await, &all).await;
}

/// The position never passes a batch that is not stored, however far later batches are, not even at
/// shutdown.
pub async fn the_position_waits_for_a_slow_batch(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::Delay(Duration::from_secs(600)));
    // One user, so all purchases are in one partition.
    let all: Vec<_> = (0..60).map(|number| purchase_of("one", number)).collect();
    publish(log, &all[..10]).await;
    let running = Running::start_with(log, store, &faults, short_drain()).await;
    let first_insert = async {
        while faults.calls(Call::Insert) == 0 {
            tokio::task::yield_now().await;
        }
    };
    // Tasks may run in another order than they were started in, and the slow batch has to be the
    // first.
    soon("begin to insert", first_insert).await;
    publish(log, &all[10..]).await;
    running.ingested(50).await;
    // Shut down cleanly: finally commits all offsets that it considers durable.
    running.end().await;
    assert_redelivered(log, store, &all).await;
}

/// A shutdown drains the batches in flight and commits them: they are not redelivered.
pub async fn a_shutdown_drains_batches_in_flight(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::Delay(Duration::from_millis(200)));
    let all = purchases(0..100);
    publish(log, &all).await;
    let two_batches = IngestOptions {
        max_in_flight_batches: 2,
        ..options()
    };
    let running = Running::start_with(log, store, &faults, two_batches).await;
    soon(
        "read",
        running.monitor.wait_for(|status| status.in_flight > 0),
    )
    .await;
    running.end().await;
    let query = store.query().await;
    let mut stored = BTreeSet::new();
    for purchase in &all {
        stored.extend(
            query
                .get(&purchase.id)
                .await
                .unwrap()
                .map(|purchase| purchase.id),
        );
    }
    assert!(!stored.is_empty());
    // One of each of the five users.
    let next = delivered_next(log, &purchases(100..105)).await;
    assert!(
        stored.is_disjoint(&next),
        "a stored purchase is redelivered"
    );
    assert_eq!(
        stored.len() + next.len(),
        105,
        "committed, but neither stored nor dead-lettered"
    );
}

/// A record that does not decode is dead-lettered byte for byte, with key and headers; good records
/// are stored.
pub async fn poison_is_dead_lettered(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let poison = Bytes::from_static(b"{\"not\": \"a purchase\xff\"");
    let headers = Headers::builder()
        .with("odd", Some(b"\xff\x00"))
        .with("none", None)
        .build();
    let foreign = LogRecord::new(0, at(0), Some(poison.clone()))
        .with_key(Some(Bytes::from_static(b"\xfe")))
        .with_headers(headers);
    let faults = Faults::new();
    let mut all = purchases(0..40);
    if declared(
        log.capabilities().foreign_records,
        "records of other producers",
    ) {
        publish(log, &all[..20]).await;
        log.append(foreign.clone()).await;
        publish(log, &all[20..]).await;
    } else {
        faults.once(Call::Next, Fault::Poison(poison.clone()));
        publish(log, &all).await;
    }
    let running = Running::start(log, store, &faults).await;
    running
        .ingested(if log.capabilities().foreign_records {
            41
        } else {
            40
        })
        .await;
    let tally = running.end().await;
    assert_eq!(tally.dead_lettered, 1);
    let dead_letters = log.pending_dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].record.value.as_ref(), Some(&poison));
    assert_eq!(dead_letters[0].reason.kind(), ReasonKind::Undecodable);
    let LogRecord { key, headers, .. } = &dead_letters[0].record;
    if log.capabilities().foreign_records {
        assert_eq!((key, headers), (&foreign.key, &foreign.headers));
    } else {
        assert!(headers.get(header::PURCHASE_ID).is_some(), "{headers:?}");
        let query = store.query().await;
        let mut stored = Vec::new();
        for purchase in all {
            if query.get(&purchase.id).await.unwrap().is_some() {
                stored.push(purchase);
            }
        }
        assert_eq!(stored.len(), 39);
        all = stored;
    }
    assert_stored(&*store.query().await, &all).await;
}

/// A purchase whose id is used by another is dead-lettered as a conflict; the first one stays.
pub async fn a_conflict_is_dead_lettered(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let first = purchase(1);
    let other = Purchase {
        price: price("999"),
        ..first.clone()
    };
    publish(log, std::slice::from_ref(&first)).await;
    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(1).await;
    publish(log, &[other, first.clone(), purchase(2)]).await;
    running.ingested(4).await;
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted, tally.duplicates, tally.dead_lettered),
        (2, 1, 1)
    );
    let dead_letters = log.pending_dead_letters().await;
    assert_eq!(
        (dead_letters.len(), dead_letters[0].reason.kind()),
        (1, ReasonKind::Conflict)
    );
    assert_stored(&*store.query().await, &[first, purchase(2)]).await;
}

/// A refund whose purchase is slow, or comes later, is applied when the purchase is stored. One
/// that turns out to contradict its purchase becomes a dead letter about its record.
pub async fn a_refund_waits_for_its_purchase(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::Delay(Duration::from_millis(200)));
    let mut all: Vec<_> = (1..31).map(|number| purchase_of("one", number)).collect();
    all.push(all[0].refund(None, at(100)).unwrap());
    let [late, refused] = [999, 998].map(|number| purchase_of("one", number));
    let of_late = late.refund(None, at(1_000)).unwrap();
    let above = Purchase {
        price: price("10").negated(),
        ..refused.refund(None, at(1_000)).unwrap()
    };
    all.extend([of_late.clone(), above.clone()]);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    running.ingested(33).await;
    assert_eq!(log.pending_dead_letters().await, []);
    publish(log, &[late, refused, of_late.clone()]).await;
    running.ingested(36).await;

    let query = store.query().await;
    let is_applied = query.wait_for(&of_late.id, Duration::from_secs(10));
    assert!(soon("apply", is_applied).await.expect("wait"));
    let dead_letters = loop {
        let dead_letters = log.pending_dead_letters().await;
        if !dead_letters.is_empty() {
            break dead_letters;
        }
        soon("dead-letter", tokio::time::sleep(Duration::from_millis(50))).await;
    };
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].reason.kind(), ReasonKind::Refused);
    let dead_letter = &dead_letters[0];
    let decoded = decode(&dead_letter.record, &dead_letter.partition).expect("decode");
    assert_eq!(decoded, above);
    running.end().await;
    for refund in &all[30..32] {
        let found = query.get(&refund.id).await.expect("get");
        assert_eq!(found.as_ref(), Some(refund));
    }
}

/// A purchase that the store rejects is dead-lettered with the store's reason. The others are
/// stored, and nothing is redelivered.
pub async fn a_rejected_purchase_is_dead_lettered(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let reason =
        Reason::refused(Error::new(ErrorKind::TooLarge, "too large on purpose")).expect("a reason");
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::Reject(reason.clone()));
    let mut all: Vec<_> = (0..30).map(|number| purchase_of("one", number)).collect();
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    running.ingested(30).await;
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted, tally.duplicates, tally.dead_lettered),
        (29, 0, 1)
    );
    let dead_letters = log.pending_dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(
        (dead_letters[0].reason.kind(), &dead_letters[0].reason),
        (ReasonKind::Refused, &reason)
    );
    let rejected = decode(&dead_letters[0].record, &dead_letters[0].partition).expect("a purchase");
    all.retain(|purchase| *purchase != rejected);
    assert_eq!(all.len(), 29);
    assert_stored(&*store.query().await, &all).await;
    assert_eq!(
        delivered_next(log, &[purchase(100)]).await,
        BTreeSet::from([id(100)])
    );
}

/// Records that the log has deleted unread are kept as a dead letter before the position passes
/// them, and are reported until it is discarded. The records after them are stored.
pub async fn a_gap_is_dead_lettered(log: &dyn LogFixture, store: &dyn StoreFixture) {
    if !declared(
        log.capabilities().deletes_records,
        "the deletion of records",
    ) {
        return;
    }
    let all: Vec<_> = (0..10).map(|number| purchase_of("one", number)).collect();
    publish(log, &all[..4]).await;
    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(4).await;
    running.end().await;
    publish(log, &all[4..]).await;
    let admin = log.log().admin();
    let batches: Vec<Batch> = admin
        .scan()
        .await
        .expect("scan")
        .try_collect()
        .await
        .expect("scan");
    let partition = &batches[0].partition;
    let records: Vec<_> = batches.iter().flat_map(|batch| &batch.records).collect();
    let position = RecordPosition::new(
        Arc::clone(&partition.topic),
        partition.index,
        records[7].offset,
    );
    log.delete_before(&position).await;
    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(3).await;
    let tally = running.end().await;
    assert_eq!((tally.inserted, tally.dead_lettered, tally.lost), (3, 0, 3));
    let stored = [&all[..4], &all[7..]].concat();
    assert_stored(&*store.query().await, &stored).await;
    let dead_letters = log.pending_dead_letters().await;
    let gaps: Vec<_> = dead_letters.iter().filter_map(DeadLetter::gap).collect();
    let [gap] = &gaps[..] else {
        panic!("one gap of {dead_letters:?}")
    };
    assert_eq!(
        (gap.from, gap.to, gap.offset_count()),
        (records[4].offset, records[7].offset, 3)
    );
    let verify = Verify::new(store.query().await, VerifyOptions::default());
    let verified = verify.run(&*admin, |_| ()).await.expect("verify");
    assert_eq!(
        (verified.gaps.count, verified.lost, verified.is_clean()),
        (1, 3, false)
    );
    assert_eq!(
        admin
            .resolve(&dead_letters, Purchase::TYPE, Resolution::Dropped)
            .await
            .expect("discard"),
        1
    );
    let verified = verify.run(&*admin, |_| ()).await.expect("verify");
    assert!(verified.is_clean() && verified.lost == 0, "{verified:?}");
    // Deleted records are not verified.
    let end = records[9].offset + 1;
    log.delete_before(&RecordPosition {
        offset: end,
        ..position.clone()
    })
    .await;
    let verified = verify.run(&*admin, |_| ()).await.expect("verify");
    assert_eq!(
        (verified.records, verified.written),
        (0, Some(10)),
        "{verified:?}"
    );
    assert!(
        !verified.is_clean() && !verified.has_findings(),
        "{verified:?}"
    );
    let partition = (position.topic.to_string(), position.partition);
    assert_eq!(verified.first_offsets, BTreeMap::from([(partition, end)]));
    assert_eq!(
        delivered_next(log, &[purchase(100)]).await,
        BTreeSet::from([id(100)])
    );
}

/// Valid records of other producers are stored once, even if they are delivered twice or
/// redelivered after a crash.
pub async fn foreign_records_are_stored_once(log: &dyn LogFixture, store: &dyn StoreFixture) {
    if !declared(
        log.capabilities().foreign_records,
        "records of other producers",
    ) {
        return;
    }
    for number in 0..20 {
        soon(
            "append",
            log.append(foreign(&format!("user-{}", number % 5), number)),
        )
        .await;
    }
    let faults = Faults::new();
    faults.always(Call::Next, Fault::DeliverTwice);
    faults.always(Call::Commit, Fault::unavailable());
    let running = Running::start(log, store, &faults).await;
    running.ingested(40).await;
    running.crash().await;
    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(20).await;
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted, tally.duplicates, tally.dead_lettered),
        (0, 20, 0)
    );
    let query = store.query().await;
    for user in 0..5 {
        let prices = (0..20)
            .filter(|number| number % 5 == user)
            .map(|number| purchase(number).price);
        let total = Total::checked_sum(prices).unwrap();
        let selector = Selector::User(purchase(user).user_id);
        let summary = soon("summary", query.summary(&selector))
            .await
            .expect("summary");
        assert_eq!((summary.count, summary.total_spent), (4, total));
    }
}

/// A partition may be revoked while its batches are in flight. Stored records are committed, the
/// others are redelivered, and all are stored once.
pub async fn a_revocation_mid_batch_loses_nothing(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    (0..3).for_each(|_| faults.once(Call::Next, Fault::Revoke(Duration::from_millis(300))));
    // The first insert outlasts the revocation timeout.
    faults.once(Call::Insert, Fault::Delay(Duration::from_secs(1)));
    faults.always(Call::Insert, Fault::Delay(Duration::from_millis(5)));
    let all = purchases(0..100);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    let query = store.query().await;
    stored(&*query, 100).await;
    running.end().await;
    assert_eq!(faults.injected().get(&(Call::Next, "Revoke")), Some(&3));
    assert_stored(&*query, &all).await;
    assert_eq!(log.pending_dead_letters().await.len(), 0);
    assert_eq!(
        delivered_next(log, &[purchase(100)]).await,
        BTreeSet::from([id(100)])
    );
}

/// The position does not pass a record whose dead letter could not be put: it is redelivered.
pub async fn the_position_waits_for_the_dead_letters(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let faults = Faults::new();
    faults.always(Call::PutDeadLetters, Fault::unavailable());
    faults.once(Call::Next, Fault::Poison(Bytes::from_static(b"poison")));
    let all = purchases(0..5);
    publish(log, &all).await;
    let running = Running::start_with(log, store, &faults, short_drain()).await;
    let failing = running
        .monitor
        .wait_for(|status| status.errors.contains_key(&Component::DeadLetters));
    soon("notice that dead letters cannot be put", failing).await;
    // Shut down cleanly, so it commits all offsets that it considers durable.
    running.end().await;
    assert_eq!(log.pending_dead_letters().await.len(), 0);
    assert_redelivered(log, store, &all).await;
}

/// Too many dead letters stop the pipeline with an error. A restart counts from zero and continues
/// after them.
pub async fn too_many_dead_letters_stop_the_pipeline(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    if !declared(
        log.capabilities().foreign_records,
        "records of other producers",
    ) {
        return;
    }
    for _ in 0..20 {
        log.append(LogRecord::new(
            0,
            at(0),
            Some(Bytes::from_static(b"poison")),
        ))
        .await;
    }
    let limited = IngestOptions {
        dead_letter_limit: DeadLetterLimit::consecutive(8),
        max_in_flight_batches: 1,
        ..options()
    };
    for kept in [8, 16] {
        let running = Running::start_with(log, store, &Faults::new(), limited.clone()).await;
        let status = soon(
            "stop",
            running
                .monitor
                .wait_for(|status| status.phase == Phase::Stopped),
        )
        .await;
        assert!(status.fatal_error.is_some());
        let error = running.stop().await.expect_err("ingest has stopped");
        assert!(error.to_string().contains("8 records in a row"), "{error}");
        assert_eq!(log.pending_dead_letters().await.len(), kept);
    }
    let unlimited = IngestOptions {
        dead_letter_limit: DeadLetterLimit::OFF,
        ..options()
    };
    let running = Running::start_with(log, store, &Faults::new(), unlimited).await;
    running.ingested(4).await;
    running.end().await;
    assert_eq!(log.pending_dead_letters().await.len(), 20);
}

/// Conflicts are caused by clients: any number of them does not stop the pipeline, nor do they
/// affect how other dead letters count.
pub async fn conflicts_do_not_count_towards_the_limit(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    // One user, so all purchases are in one partition.
    let of_one = |number| purchase_of("one", number);
    let first = of_one(0);
    publish(log, std::slice::from_ref(&first)).await;
    let limited = IngestOptions {
        dead_letter_limit: DeadLetterLimit::consecutive(3),
        ..options()
    };
    let running = Running::start_with(log, store, &Faults::new(), limited).await;
    running.ingested(1).await;
    let other = |number: u32| Purchase {
        price: price(&format!("99{number}")),
        ..first.clone()
    };
    let conflicts: Vec<_> = (0..40).map(other).collect();
    publish(log, &conflicts).await;
    publish(log, &[of_one(1)]).await;
    let stored = running
        .monitor
        .wait_for(|status| status.counters.inserted == 2 || status.fatal_error.is_some());
    let status = soon("store the purchases after the conflicts", stored).await;
    assert!(
        status.fatal_error.is_none() && status.phase == Phase::Running,
        "{status:?}"
    );
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted, tally.conflicts, tally.dead_lettered),
        (2, 40, 40)
    );
    assert_eq!(log.pending_dead_letters().await.len(), 40);
}

/// Members that join and leave while batches are slow lose nothing and duplicate nothing.
pub async fn members_may_join_and_leave(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::Delay(Duration::from_millis(5)));
    let all = purchases(0..300);
    publish(log, &all[..100]).await;
    let first = Running::start(log, store, &faults).await;
    first.ingested(20).await;
    let second = Running::start(log, store, &faults).await;
    publish(log, &all[100..200]).await;
    second.crash().await;
    let third = Running::start(log, store, &faults).await;
    first.end().await;
    publish(log, &all[200..]).await;
    let query = store.query().await;
    stored(&*query, 300).await;
    third.end().await;
    assert_stored(&*query, &all).await;
    assert_eq!(log.pending_dead_letters().await.len(), 0);
}

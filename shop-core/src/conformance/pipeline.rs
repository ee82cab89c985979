//! The tests of [`Ingest`](crate::ingest::Ingest) between any log and any store, under faults. What
//! ingest alone decides, such as when it stops, is tested beside it and in its model.

use super::log_calls::delete_records_before;
use super::pipeline_calls::{Running, assert_nothing_redelivered, assert_stored, options, stored};
use super::prelude::*;
use crate::ingest::{Component, Phase};
use crate::verify::{Verify, VerifyOptions};

/// While the store is unavailable nothing is dead-lettered, and all purchases are stored when it
/// recovers. An insert with unknown outcomes, for all or half of its purchases, is retried for those
/// that are unknown.
pub async fn an_outage_is_waited_for(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.always(Call::Insert, Fault::unavailable());
    let all = purchases(0..200);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    let outage = running
        .monitor
        .wait_for(|status| status.errors.contains_key(&Component::Store));
    let status = soon("the notice of the outage", outage).await;
    assert!(
        status.in_flight <= options().max_in_flight_batches,
        "what is in flight is bounded"
    );
    assert_eq!(status.phase, Phase::Running);

    faults.clear(Call::Insert);
    for fault in [
        Fault::LoseAnswer,
        Fault::PartialInsert,
        Fault::unavailable(),
        Fault::PartialInsert,
        Fault::LoseAnswer,
    ] {
        faults.once(Call::Insert, fault);
    }
    running.ingested(200).await;
    let recovery = running.monitor.wait_for(|status| status.errors.is_empty());
    soon("the recovery", recovery).await;
    running.end().await;
    assert_stored(log, store, &all).await;
}

/// After a crash between insert and commit all records are redelivered, and none is stored twice,
/// even if each was delivered twice before. So are valid records of other producers.
pub async fn a_crash_before_commit_duplicates_nothing(
    log: &dyn LogFixture,
    store: &dyn StoreFixture,
) {
    let faults = Faults::new();
    faults.always(Call::Next, Fault::DeliverTwice);
    faults.always(Call::Commit, Fault::unavailable());
    let all = purchases(0..30);
    publish(log, &all).await;
    for number in 100..110 {
        append(log, foreign("foreign", number)).await;
    }
    let running = Running::start(log, store, &faults).await;
    running.ingested(80).await;
    running.crash().await;
    // The faults of the first run stay active: a commit in flight must not succeed now.
    let tally = Running::ingest(log, store, 40).await;
    assert_eq!(
        (tally.inserted, tally.duplicates, tally.dead_lettered),
        (0, 40, 0)
    );

    let query = store.query().await;
    let foreign = summary_of(&purchases_of("foreign", 100..110));
    assert_eq!(succeed(query.summary(&of_user("foreign"))).await, foreign);
    let mut stored = listed(&query, &Selector::All).await;
    stored.retain(|purchase| purchase.user_id != user("foreign"));
    assert_eq!(stored, all);
}

/// A record that does not decode is dead-lettered byte for byte, with key and headers. A purchase
/// whose id is used by another is dead-lettered as a conflict, and the first one stays. Good records
/// are stored, and nothing is redelivered.
pub async fn bad_records_are_dead_lettered(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let [poison, ..] = odd_records();
    let all = purchases(0..20);
    publish(log, &all[..10]).await;
    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(10).await;
    append(log, poison.clone()).await;
    let conflict = Purchase {
        price: price("999"),
        ..all[1].clone()
    };
    publish(log, &[conflict, all[1].clone()]).await;
    publish(log, &all[10..]).await;
    running.ingested(23).await;
    let tally = running.end().await;
    assert_eq!(
        (tally.inserted, tally.duplicates, tally.dead_lettered),
        (20, 1, 2)
    );

    let mut dead_letters = log.pending_dead_letters().await;
    dead_letters.sort_by_key(|letter| letter.reason.kind() == ReasonKind::Conflict);
    let reasons: Vec<_> = dead_letters
        .iter()
        .map(|letter| letter.reason.kind())
        .collect();
    assert_eq!(reasons, [ReasonKind::Undecodable, ReasonKind::Conflict]);
    let record = &dead_letters[0].record;
    assert_eq!(
        (&record.key, &record.headers, &record.value),
        (&poison.key, &poison.headers, &poison.value)
    );
    let resolved = log.log();
    let resolved = resolved.resolve(&dead_letters, Purchase::TYPE, Resolution::Dropped);
    assert_eq!(succeed(resolved).await, 2);
    assert_stored(log, store, &all).await;
    assert_nothing_redelivered(log).await;
}

/// A refund whose purchase is slow, or comes later, is applied when the purchase is stored. One
/// that turns out to contradict its purchase becomes a dead letter about its record.
pub async fn a_refund_waits_for_its_purchase(log: &dyn LogFixture, store: &dyn StoreFixture) {
    let faults = Faults::new();
    faults.once(Call::Insert, Fault::Delay(Duration::from_millis(200)));
    let mut all = purchases_of("one", 1..31);
    let of_slow = all[0].refund(None, at(100)).unwrap();
    let [late, refused] = [999, 998].map(|number| purchase_of("one", number));
    let of_late = late.refund(None, at(1_000)).unwrap();
    let above = Purchase {
        price: price("10").negated(),
        ..refused.refund(None, at(1_000)).unwrap()
    };
    all.extend([of_slow.clone(), of_late.clone(), above.clone()]);
    publish(log, &all).await;
    let running = Running::start(log, store, &faults).await;
    running.ingested(33).await;
    assert_eq!(log.pending_dead_letters().await, []);
    publish(log, &[late, refused, of_late.clone()]).await;
    running.ingested(36).await;

    let query = store.query().await;
    assert!(succeed(query.wait_for(&of_late.id, Duration::from_secs(10))).await);
    let refusal = async {
        loop {
            if let Some(dead_letter) = log.pending_dead_letters().await.pop() {
                return dead_letter;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let dead_letter = soon("a dead letter", refusal).await;
    assert_eq!(dead_letter.reason.kind(), ReasonKind::Refused);
    let decoded = decode(&dead_letter.record, &dead_letter.partition).expect("a refund");
    assert_eq!(decoded, above);
    running.end().await;
    assert_eq!(log.pending_dead_letters().await.len(), 1);
    for refund in [of_slow, of_late] {
        assert_eq!(get(store, &refund.id).await, Some(refund));
    }
}

/// Records that the log has deleted unread are kept as a dead letter before the position passes
/// them, and are reported until it is discarded. The records after them are stored.
pub async fn a_gap_is_dead_lettered(log: &dyn LogFixture, store: &dyn StoreFixture) {
    if !deletes_records(log) {
        return;
    }
    let mut all = purchases_of("one", 0..10);
    publish(log, &all[..4]).await;
    Running::ingest(log, store, 4).await;
    publish(log, &all[4..]).await;
    let admin = log.log();
    let batches: Vec<Batch> = succeed(async { admin.scan_all().await?.try_collect().await }).await;
    let partition = &batches[0].partition;
    let offsets: Vec<u64> = batches
        .iter()
        .flat_map(|batch| &batch.records)
        .map(|record| record.offset)
        .collect();
    delete_records_before(log, partition, offsets[7]).await;
    let tally = Running::ingest(log, store, 3).await;
    assert_eq!((tally.inserted, tally.dead_lettered, tally.lost), (3, 0, 3));

    let dead_letters = log.pending_dead_letters().await;
    let gaps: Vec<_> = dead_letters.iter().filter_map(DeadLetter::gap).collect();
    let [gap] = &gaps[..] else {
        panic!("one gap of {dead_letters:?}")
    };
    assert_eq!(
        (gap.from, gap.to, gap.offset_count()),
        (offsets[4], offsets[7], 3)
    );
    let verify = Verify::new(store.query().await, VerifyOptions::default());
    let verified = succeed(verify.run(&*admin, |_| ())).await;
    assert_eq!(
        (verified.gaps.count, verified.lost, verified.is_clean()),
        (1, 3, false)
    );
    let discarded = admin.resolve(&dead_letters, Purchase::TYPE, Resolution::Dropped);
    assert_eq!(succeed(discarded).await, 1);
    let verified = succeed(verify.run(&*admin, |_| ())).await;
    assert!(verified.is_clean() && verified.lost == 0, "{verified:?}");
    all.drain(4..7);
    assert_stored(log, store, &all).await;
    assert_nothing_redelivered(log).await;
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
    stored(store, 300).await;
    third.end().await;
    assert_stored(log, store, &all).await;
}

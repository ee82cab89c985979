//! The tests of [`Operations`] on any log and any store from which purchases can be erased.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;

use super::erase::{insert, mark, user};
use super::fixture::soon;
use super::pipeline_calls::{GROUP, Running};
use super::sample::{at, id, purchase, purchases};
use super::{EraseFixture, LogFixture};
use crate::conformance::fault::Faults;
use crate::erase::Erase;
use crate::log::{DeadLetterFilter, ReasonKind, RecordPosition, Resolution, ResolveOptions};
use crate::operations::{Operations, ResolveReport};
use crate::record::Record;
use crate::shop::DeadLetterLog;
use crate::verify::VerifyOptions;
use crate::{ErrorKind, Purchase};

/// Publishes purchases 0 to 4, and returns the operations on the log and the store of the fixtures,
/// and the positions of the purchases.
async fn published(
    log: &dyn LogFixture,
    store: &dyn EraseFixture,
) -> (Operations, Vec<RecordPosition>) {
    let mut positions = Vec::new();
    for purchase in purchases(0..5) {
        let receipt = soon("publish", log.sink().await.publish(&purchase)).await;
        positions.push(receipt.expect("publish").position.expect("a position"));
    }
    let topic = DeadLetterLog::new(&*positions[0].topic, Purchase::TYPE, log.log());
    let operations = Operations::new()
        .with_log(topic)
        .with_group(log.group(GROUP))
        .with_store(store.query().await, store.erase().await);
    (operations, positions)
}

/// The positions of the pending dead letters.
async fn pending(operations: &Operations) -> Vec<RecordPosition> {
    let dead_letters = operations.dead_letters(DeadLetterFilter::default()).await;
    dead_letters
        .unwrap()
        .map_ok(|dead_letter| dead_letter.position())
        .try_collect()
        .await
        .unwrap()
}

/// An operation without the log, the group or the store that it needs is unsupported.
pub async fn a_missing_part_is_unsupported(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (_, positions) = published(log, store).await;
    let only_log = Operations::new().with_log(DeadLetterLog::new("t", Purchase::TYPE, log.log()));
    let filter = DeadLetterFilter::default();
    let no_progress = |_progress| ();
    for error in [
        Operations::new().dead_letters(filter).await.err(),
        only_log.status().await.err(),
        only_log.park(&positions, "stuck").await.err(),
        only_log
            .verify(VerifyOptions::default(), no_progress)
            .await
            .err(),
        only_log.export(None).err(),
    ] {
        assert_eq!(error.unwrap().kind(), ErrorKind::Unsupported);
    }
}

/// The status counts what the group has not consumed, and the pending dead letters by their reason.
pub async fn a_status_counts_lag_and_dead_letters(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    operations.park(&positions[..2], "stuck").await.unwrap();
    let status = operations.status().await.unwrap();
    let parked = status.dead_letters.get(&ReasonKind::Parked);
    assert_eq!((status.lag, parked), (5, Some(&2)));
    assert_eq!(status.findings(), [""; 0]);

    let running = Running::start(log, store, &Faults::new()).await;
    running.ingested(5).await;
    running.end().await;
    assert_eq!(operations.status().await.unwrap().lag, 0);
}

/// A parked record is a pending dead letter, and another one cannot be parked with one of another
/// topic.
pub async fn parked_records_are_dead_letters(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    let mut elsewhere = positions[0].clone();
    elsewhere.topic = "elsewhere".into();
    let both = [positions[1].clone(), elsewhere];
    let report = operations.park(&both, "stuck").await.unwrap();
    assert_eq!((report.parked, report.problems.len()), (0, 1));
    assert!(pending(&operations).await.is_empty());
    let mut absent = positions[0].clone();
    absent.offset += 1_000_000;
    let report = operations.park(&[absent], "stuck").await.unwrap();
    assert_eq!((report.parked, report.problems.len()), (0, 1));

    let report = operations.park(&both[..1], "stuck").await.unwrap();
    assert_eq!((report.parked, report.problems.len()), (1, 0));
    assert_eq!(pending(&operations).await, both[..1]);
}

/// A record is not parked if it is dead-lettered, stored or erased, or behind the group's position.
pub async fn a_record_that_needs_no_dead_letter_is_not_parked(
    log: &dyn LogFixture,
    store: &dyn EraseFixture,
) {
    let (operations, positions) = published(log, store).await;
    insert(store, &[purchase(0)]).await;
    mark(store, &[id(1)]).await;
    operations.park(&positions[2..3], "stuck").await.unwrap();
    let problems = operations.park(&positions[..3], "again").await.unwrap();
    for (position, state) in positions
        .iter()
        .zip([" is stored", " is erased", " is dead-"])
    {
        let begins = |problem: &String| problem.starts_with(&format!("{position}{state}"));
        assert!(problems.problems.iter().any(begins), "{problems:?}");
    }
}

/// Resolving counts the dead letters that were resolved, or in a dry run would be, and returns the
/// positions without one.
pub async fn resolved_dead_letters_are_counted(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    operations.park(&positions[..2], "stuck").await.unwrap();
    let filter = DeadLetterFilter::default().positions(positions[1..3].iter().cloned().collect());
    for (dry_run, left) in [(true, 2), (false, 1)] {
        let options = ResolveOptions::new(Resolution::Dropped).dry_run(dry_run);
        let mut report = ResolveReport::new(&options);
        let resolving = operations.resolve(filter.clone(), &options, &mut report, |_| true);
        resolving.await.unwrap();
        let unknown = BTreeSet::from([positions[2].clone()]);
        assert_eq!((report.resolved, &report.unknown), (1, &unknown));
        assert_eq!(pending(&operations).await.len(), left);
    }
}

/// An export of everything yields each purchase before its refund, and each once.
pub async fn an_export_yields_purchases_before_refunds(
    log: &dyn LogFixture,
    store: &dyn EraseFixture,
) {
    let (operations, _) = published(log, store).await;
    let mut all = purchases(1..100);
    let refunds: Vec<_> = all
        .iter()
        .map(|bought| bought.refund(None, at(0)).unwrap())
        .collect();
    all.extend(refunds);
    insert(store, &all).await;
    for user in [None, Some(user("user-1"))] {
        let expected = all
            .iter()
            .filter(|entry| user.is_none() || user.as_ref() == Some(&entry.user_id));
        let mut seen = BTreeSet::new();
        let mut batches = operations.export(user.clone()).unwrap();
        while let Some(batch) = batches.try_next().await.unwrap() {
            for entry in batch.purchases {
                assert!(
                    entry.details.of.is_none_or(|of| seen.contains(&of)),
                    "{entry:?}"
                );
                assert!(seen.insert(entry.id));
            }
        }
        assert_eq!(seen, expected.map(|entry| entry.id).collect());
    }
}

/// Nothing of an erased user is left in the store, in the dead letters and, if it can erase
/// records, in the log; and both agree.
pub async fn an_erased_user_leaves_nothing(log: &dyn LogFixture, store: &dyn EraseFixture) {
    let (operations, positions) = published(log, store).await;
    operations.park(&positions[1..2], "stuck").await.unwrap();
    insert(store, &[0, 2, 3, 4].map(purchase)).await;
    let mut erase = Erase::new(user("user-1"), |_progress| ());
    operations.erase_purchases(&mut erase, "log").await.unwrap();
    let kept: u64 = erase.report.kept.iter().map(|kept| kept.records).sum();
    assert_eq!(
        (erase.report.records + kept, erase.report.dead_letters),
        (1, 1)
    );
    assert!(pending(&operations).await.is_empty());
    let verified = operations
        .verify(VerifyOptions::default(), |_progress| ())
        .await
        .unwrap();
    assert!(verified.is_clean(), "{}", verified.details());
}

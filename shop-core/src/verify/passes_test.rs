//! Verification in several passes, because the store contains more purchases than fit into memory.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fixture::{UnusualStore, World, purchase};
use super::{Verify, VerifyOptions, VerifyProgress, VerifyReport};
use crate::log::{LogRecord, Resolution};
use crate::ports::{PurchaseErase as _, PurchaseQuery};
use crate::{Purchase, Timestamp};

/// Windows of ids for the purchases of [`differing_world`]: from many passes to one. Each window has
/// room for the ids that are missing, so that each of them counts once.
const WINDOWS: [usize; 5] = [10, 15, 25, 40, 1_000];

/// Verifies the store `query`. Returns the report, and the progress that was shown.
async fn verify_with_progress(
    world: &World,
    query: impl PurchaseQuery,
    options: VerifyOptions,
) -> (VerifyReport, Vec<VerifyProgress>) {
    let shown = Mutex::new(Vec::new());
    let verify = Verify::new(Arc::new(query), options);
    let report = verify
        .run(&world.log, |progress| shown.lock().unwrap().push(progress))
        .await
        .unwrap();
    (report, shown.into_inner().unwrap())
}

fn undecodable_record() -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some("no purchase".into()))
}

fn with_other_price(number: u128) -> Purchase {
    Purchase {
        price: "1".parse().unwrap(),
        ..purchase(number)
    }
}

/// Creates a log and a store that differ in every way, with several differences of each kind.
async fn differing_world() -> World {
    let world = World::new().await;
    world.buy(30..60).await;
    for number in [100, 101, 100, 102, 103, 104] {
        world.publish(&purchase(number)).await;
    }
    for number in [5, 6, 7, 8, 5] {
        world.publish(&with_other_price(number)).await;
    }
    for number in [20, 21, 22] {
        let position = world.publish(&with_other_price(number)).await;
        world.dead_letter(&position).await;
    }
    for number in [110, 111] {
        let position = world.publish(&purchase(number)).await;
        let dead_letter = world.dead_letter(&position).await;
        world.resolve(dead_letter, Resolution::Dropped).await;
    }

    // Undecodable records, and purchases that were erased.
    for _ in 0..4 {
        drop(world.log.append(undecodable_record()));
    }
    for number in [120, 121, 122] {
        world.publish(&purchase(number)).await;
        world
            .store
            .mark_erased(&[purchase(number).id])
            .await
            .unwrap();
    }
    world
}

/// Returns `report` with the samples in the order of their ids, which is not the same in every
/// verification.
fn with_sorted_samples(mut report: VerifyReport) -> VerifyReport {
    report.missing.samples.sort_by_key(|sample| sample.id);
    report
        .mismatched
        .samples
        .sort_by_key(|sample| (sample.id, sample.position.offset));
    report.duplicates.samples.sort();
    report
}

#[tokio::test(start_paused = true)]
async fn every_number_of_passes_leads_to_the_same_report() {
    let world = differing_world().await;
    let mut reports = Vec::new();
    for window in WINDOWS {
        let options = VerifyOptions::default()
            .dedup_window(window)
            .max_reported(1_000)
            .max_pending(5);
        let query = UnusualStore::with_repetitions(&world);
        let (report, progress) = verify_with_progress(&world, query, options).await;
        let passes = progress.last().unwrap().pass;
        assert_eq!(passes > 1, window < 60, "{passes} passes with {window}");
        reports.push(with_sorted_samples(report));
    }

    let one_pass = reports.pop().unwrap();
    assert_eq!((one_pass.records, one_pass.dead_lettered), (83, 3));
    assert_eq!((one_pass.resolved, one_pass.erased), (2, 3));
    assert_eq!((one_pass.purchases, one_pass.unreadable), (120, 1));
    // The four records that do not decode are missing, too.
    let missing = &one_pass.missing;
    assert_eq!((missing.count, missing.samples.len()), (5 + 4, 5 + 4));
    assert_eq!(one_pass.mismatched.count, 5);
    assert_eq!(one_pass.duplicates.count, 30);
    for (report, window) in reports.iter().zip(WINDOWS) {
        assert_eq!(*report, one_pass, "{window}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_purchase_beyond_the_memory_is_not_looked_up() {
    let world = World::new().await;
    let query = Arc::new(UnusualStore::with_lag(&world, []));
    let options = VerifyOptions::default().dedup_window(7);
    let (report, progress) = verify_with_progress(&world, Arc::clone(&query), options).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.records, report.purchases), (30, 30));
    assert_eq!(query.lookups.load(Ordering::Relaxed), 0);

    let last = progress.last().unwrap();
    assert!((5..=12).contains(&last.pass), "{last:?}");
    assert_eq!((last.passes, last.records), (last.pass, 30));
    assert_eq!(last.remaining, Some(Duration::ZERO));
    let passes: BTreeSet<_> = progress.iter().map(|progress| progress.pass).collect();
    assert_eq!(passes, (1..=last.pass).collect());
    assert!(progress.iter().all(|progress| progress.scanned <= 30));
}

/// Verifies `world` in several passes, and calls `change` during each pass after the first one.
async fn verify_and_change_between_passes(
    world: &World,
    change: impl Fn() + Send + Sync,
) -> VerifyReport {
    let store = Arc::new(world.store.clone());
    let verify = Verify::new(store, VerifyOptions::default().dedup_window(7));
    let change_after_first_pass = |progress: VerifyProgress| {
        if progress.pass > 1 {
            change();
        }
    };
    verify
        .run(&world.log, change_after_first_pass)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_appended_between_two_passes_is_not_verified() {
    let world = World::new().await;
    let report = verify_and_change_between_passes(&world, || {
        drop(world.log.append(undecodable_record()));
    })
    .await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.records, report.purchases), (30, 30));
}

#[tokio::test(start_paused = true)]
async fn records_that_are_deleted_between_two_passes_are_not_reported_as_verified() {
    let world = World::new().await;
    let report = verify_and_change_between_passes(&world, || world.log.delete_before(0, 4)).await;
    assert!(report.is_clean(), "{report:?}");
    let topic = "purchases".to_owned();
    assert_eq!(report.first_offsets[&(topic.clone(), 0)], 4);
    assert_eq!(report.first_offsets[&(topic, 1)], 0);
    assert!(report.details().contains("purchases-0-4"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_purchase_that_expires_during_the_verification_is_not_missing() {
    let world = World::new().await;
    // Purchases are named by the milliseconds of their times.
    for number in [40_004_000, 40_060_000] {
        world.publish(&purchase(number)).await;
    }
    let retained_from = Timestamp::from_millis(40_000_000).unwrap();
    let options = VerifyOptions::default()
        .retained_from(Some(retained_from))
        .quiet_period(Duration::from_secs(10));
    let report = world.verify_with(options).await;
    assert_eq!(report.expired, 1);
    assert_eq!(report.missing.count, 1);
    assert_eq!(report.missing.samples[0].id, purchase(40_060_000).id);
}

//! Power cuts at random moments, which lose unsynced changes: every acknowledged purchase is
//! stored once.
//!
//! `SHOP_TEST_CUTS` sets the number of cuts, `SHOP_TEST_SEED` repeats the moments of another run.

mod disk;
mod disk_test;
mod load;
mod mount;
mod plan;
mod postgres;
mod series;

use std::sync::Arc;

use crate::kills::{chosen, seed};
use crate::servers::skipped;
use disk::Disk;
use mount::{Mount, Owner};
use postgres::PostgresSeries;
use series::{Report, Result, SYNCED, Series};

/// The default number of power cuts: one in each scene.
const CUTS: u64 = 8;
/// The default number of rounds in which a sync fails: one for each file.
const FAILED_SYNCS: u64 = SYNCED.len() as u64;
/// Power cuts of one disk, which starts empty.
const CUTS_OF_A_DISK: u64 = 24;

/// Whether a file system can be mounted here. Reports the reason if not.
fn can_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mount::new(
        &Arc::new(Disk::new(None)),
        folder.path(),
        Owner::this_process(),
    );
    if let Err(error) = &mounted {
        skipped(
            "fuse",
            &format!("no FUSE file system can be mounted: {error}"),
        );
    }
    mounted.is_ok()
}

/// Runs `survive` for a number of rounds, by default `count`, on several disks.
async fn rounds(
    count: u64,
    survive: impl AsyncFn(&mut Series, u64) -> Result<()>,
) -> Option<Report> {
    if !can_mount() {
        return None;
    }
    let mut left = chosen("SHOP_TEST_CUTS").unwrap_or(count);
    let mut seed = seed();
    let mut total = Report::default();
    while left > 0 {
        println!("SHOP_TEST_SEED={seed} replays the moments of these cuts");
        let cuts = left.min(CUTS_OF_A_DISK);
        let mut series = Series::new(seed, Disk::new(None)).await;
        let survived = Box::pin(survive(&mut series, cuts)).await;
        total.add(series.report());
        println!("{total}");
        survived.unwrap();
        left -= cuts;
        seed += 1;
    }
    Some(total)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_and_duplicate_nothing() {
    rounds(CUTS, Series::survive).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_syncs_lose_and_duplicate_nothing() {
    let Some(report) = rounds(FAILED_SYNCS, Series::survive_failed_syncs).await else {
        return;
    };
    let minimum = (report.on_time / SYNCED.len() as u64).div_ceil(2);
    for file in SYNCED {
        let failed = report.failed.get(file).copied().unwrap_or_default();
        assert!(failed >= minimum, "{failed} syncs of {file} have failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_gets_the_space_of_write_ahead_logs() {
    if can_mount() {
        Box::pin(Series::new(seed(), Disk::new(None)).await.fill())
            .await
            .unwrap();
    }
}

/// A series on PostgreSQL, if there is a server.
async fn on_postgres(seed: u64) -> Option<PostgresSeries> {
    println!("SHOP_TEST_SEED={seed} replays the moments of these cuts");
    PostgresSeries::new(seed)
        .await
        .inspect_err(|why| skipped("postgres", why))
        .ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_of_postgres_lose_and_duplicate_nothing() {
    if !can_mount() {
        return;
    }
    let Some(mut series) = on_postgres(seed()).await else {
        return;
    };
    let survived = Box::pin(series.survive(chosen("SHOP_TEST_CUTS").unwrap_or(CUTS / 2))).await;
    println!("{}", series.report());
    survived.unwrap();
}

/// Checks the harness: on a disk that omits the syncs of one file, it finds a loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn omitted_syncs_are_found() {
    if !can_mount() {
        return;
    }
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the moments of these cuts");
    let mut found = Vec::new();
    let is_night = chosen("SHOP_TEST_CUTS").is_some();
    let planted = if is_night {
        &PLANTED[..]
    } else {
        &PLANTED[..2]
    };
    let planted = chosen_plant().map_or_else(
        || planted.iter().map(ToString::to_string).collect(),
        |name| vec![name],
    );
    for name in planted {
        let mut series = Series::new(seed, Disk::new(Some(name.clone()))).await;
        let survived = Box::pin(series.survive(40)).await;
        println!("{name}: {survived:?} {}", series.report());
        found.push((name, survived.is_err()));
    }
    assert!(found.iter().all(|(_, is_found)| *is_found), "{found:?}");
}

#[expect(clippy::disallowed_methods, reason = "selects one of them")]
fn chosen_plant() -> Option<String> {
    std::env::var("SHOP_TEST_LEFT_OUT").ok()
}

/// The files and folders whose syncs are omitted: all, the write-ahead log of each database, and each folder. Per change
/// the first two.
const PLANTED: [&str; 8] = [
    "*",
    "shop.db-wal",
    "/",
    "data",
    "users.db-wal",
    "orders.db-wal",
    "log-user_created.db-wal",
    "log-order_created.db-wal",
];

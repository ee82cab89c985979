//! Power cuts at random moments, which lose unsynced changes: every acknowledged purchase is
//! stored once.
//!
//! `SHOP_TEST_CUTS` sets the number of cuts, `SHOP_TEST_SEED` repeats the moments of another run.

mod disk;
mod load;
mod machine;
mod mount;
mod plan;
mod postgres;
mod series;

use disk::Disk;
use machine::{Report, Result};
use mount::{Mount, Owner};
use postgres::PostgresSeries;
use series::{SYNCED, Series};

use crate::prelude::*;

/// The default number of power cuts: one in each scene.
const CUTS: u64 = 7;
/// The default number of rounds in which a sync fails: one for each file.
const FAILED_SYNCS: u64 = SYNCED.len() as u64;
/// Power cuts of one disk, which starts empty.
const CUTS_OF_A_DISK: u64 = 24;

/// Returns the seed of the moments, if a file system can be mounted here. Reports the reason if not.
fn seed_if_mounted() -> Option<u64> {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::new(None));
    if let Err(error) = Mount::new(&disk, folder.path(), Owner::this_process()) {
        skipped(
            "fuse",
            &format!("no FUSE file system can be mounted: {error}"),
        );
        return None;
    }
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the moments of these cuts");
    Some(seed)
}

/// Runs `survive` for a number of rounds, by default `count`, on several disks with further seeds.
async fn rounds(
    count: u64,
    survive: impl AsyncFn(&mut Series, u64) -> Result<()>,
) -> Option<Report> {
    let mut seed = seed_if_mounted()?;
    let mut left = chosen("SHOP_TEST_CUTS").unwrap_or(count);
    let mut total = Report::default();
    while left > 0 {
        let cuts = left.min(CUTS_OF_A_DISK);
        let mut series = Series::new(seed, Disk::new(None)).await;
        let survived = Box::pin(survive(&mut series, cuts)).await;
        for (name, figure) in series.report() {
            *total.entry(name).or_default() += figure;
        }
        println!("seed {seed}: {total:?}");
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
    for file in SYNCED {
        let failed = report.get(&format!("failed syncs of {file}"));
        assert!(failed.is_some(), "no sync of {file} has failed: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_of_postgres_lose_and_duplicate_nothing() {
    let Some(seed) = seed_if_mounted() else {
        return;
    };
    let mut series = match PostgresSeries::new(seed).await {
        Ok(series) => series,
        Err(why) => return skipped("postgres", &why),
    };
    let survived = Box::pin(series.survive(chosen("SHOP_TEST_CUTS").unwrap_or(2))).await;
    println!("{:?}", series.machine.report);
    survived.unwrap();
}

/// Checks the harness: on a disk that omits the syncs of one file, it finds a loss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "selects one of the files")]
async fn omitted_syncs_are_found() {
    let Some(seed) = seed_if_mounted() else {
        return;
    };
    let planted = match std::env::var("SHOP_TEST_LEFT_OUT") {
        Ok(name) => vec![name],
        Err(_) if chosen("SHOP_TEST_CUTS").is_some() => PLANTED.map(str::to_owned).to_vec(),
        Err(_) => PLANTED[..2].iter().map(ToString::to_string).collect(),
    };
    for name in planted {
        let mut series = Series::new(seed, Disk::new(Some(name.clone()))).await;
        let survived = Box::pin(series.survive(40)).await;
        println!("{name}: {survived:?} {:?}", series.report());
        assert!(survived.is_err(), "{name}");
    }
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

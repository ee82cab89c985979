//! Power cuts at random moments, which lose unsynced changes: every acknowledged purchase is
//! stored once.
//!
//! `sim` has the same disk and the same judge, and reaches more moments of the embedded shop. These tests have what `sim`
//! replaces or does without:
//!
//! - the programs, both on one folder, with the locks, the page cache and the mapped memory of the kernel
//! - the folder itself, which the first start creates
//! - the files of users, orders and their events
//! - the syncs of PostgreSQL, with the settings of our sessions
//!
//! [`omitted_syncs_are_found`] leaves out the syncs of each file and folder in turn. `sim` has `shop.db-wal` alone of them.
//!
//! `SHOP_TEST_CUTS` sets the number of cuts, `SHOP_TEST_SEED` repeats the moments of another run.

mod disk;
mod load;
mod machine;
mod mount;
mod plan;
mod postgres;
mod series;

use disk::PoweredDisk;
use mount::{Mount, Owner};
use plan::CUTS;
use postgres::PostgresSeries;
use series::{SYNCED, Series};
use shop_faults::disk::Disk;

use crate::prelude::*;

/// Power cuts of one disk, which starts empty: one in each scene.
const CUTS_OF_A_DISK: u64 = (CUTS.len() + SYNCED.len()) as u64;

/// Returns the seed of the moments, if a file system can be mounted here. Reports the reason if not.
fn seed_if_mounted() -> Option<u64> {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(PoweredDisk::new(Disk::new(), 0));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_and_duplicate_nothing() {
    let Some(mut seed) = seed_if_mounted() else {
        return;
    };
    let mut left = chosen("SHOP_TEST_CUTS").unwrap_or(CUTS_OF_A_DISK);
    while left > 0 {
        let cuts = left.min(CUTS_OF_A_DISK);
        let mut series = Series::new(seed, Disk::new()).await;
        let survived = Box::pin(series.survive(cuts)).await;
        println!("seed {seed}: {:?}", series.report());
        survived.unwrap();
        left -= cuts;
        seed += 1;
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
        let mut series = Series::new(seed, Disk::without_syncs_of(name.clone())).await;
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

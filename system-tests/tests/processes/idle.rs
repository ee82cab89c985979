//! The resources of an idle process.

use std::collections::BTreeSet;
use std::fs;

use crate::prelude::*;

/// The paths in a folder of `/proc` for a process.
fn entries(process: &Process, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{}/{folder}", process.id())).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The number of voluntary context switches of a process.
fn voluntary_switches(process: &Process) -> u64 {
    let tasks = entries(process, "task").into_iter();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.join("status")).ok());
    let switches = statuses.map(|status| {
        let (_, switches) = status.split_once("\nvoluntary_ctxt_switches:\t").unwrap();
        let (count, _) = switches.split_once('\n').unwrap();
        count.parse::<u64>().unwrap()
    });
    switches.sum()
}

#[tokio::test]
async fn facing_opens_only_what_is_used_and_sleeps() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    must_buy(&facing, ADA).await;
    until_stored(&facing, "u1", 1).await;
    for path in ["/health", "/metrics", "/readyz", "/-/ready"] {
        assert_eq!(get(&facing.path(path)).await.0, 200, "{path}");
    }
    let descriptors = entries(&facing, "fd").into_iter();
    // A descriptor may have been closed since.
    let files: BTreeSet<_> = descriptors
        .filter_map(|link| fs::read_link(link).ok())
        .collect();
    let is_database = |file: &&PathBuf| file.extension() == Some("db".as_ref());
    let databases: Vec<_> = files.iter().filter(is_database).collect();
    assert_eq!(databases, [&folder.path().join("shop.db")]);
    let before = voluntary_switches(&facing);
    // Polling by 5 ms would be 200 a second for each log.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let switches = voluntary_switches(&facing) - before;
    assert!(switches < 200, "{switches} in a second");
}

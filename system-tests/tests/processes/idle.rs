//! The resources of an idle process.

use std::fs;

use crate::prelude::*;

/// The paths in a folder of `/proc` for a process.
fn entries(process: &Process, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{}/{folder}", process.id())).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The files of a folder that a process has opened.
fn open_files(process: &Process, folder: &str) -> Vec<String> {
    let links = entries(process, "fd").into_iter();
    let targets = links.filter_map(|link| fs::read_link(link).ok());
    let mut names: Vec<_> = targets
        .filter_map(|path| path.to_str()?.strip_prefix(folder).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The number of voluntary context switches of a process.
fn voluntary_switches(process: &Process) -> u64 {
    let tasks = entries(process, "task").into_iter();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.join("status")).ok());
    let switches = statuses.map(|status| {
        let (_, switches) = status.split_once("\nvoluntary_ctxt_switches:").unwrap();
        let count = switches.split_whitespace().next().unwrap();
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
    let files = open_files(&facing, folder.path().to_str().unwrap());
    let databases: Vec<_> = files.iter().filter(|name| name.ends_with(".db")).collect();
    assert_eq!(databases, ["/shop.db"]);
    let before = voluntary_switches(&facing);
    // Polling by 5 ms would be 200 a second for each log.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let switches = voluntary_switches(&facing) - before;
    assert!(switches < 200, "{switches} in a second");
}

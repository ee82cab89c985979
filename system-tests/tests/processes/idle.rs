//! The resources of an idle process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::process::{ADA, Binary, Process, buy, plain, until_stored};

/// The threads of a process without those of its runtime, which has one per processor.
fn own_threads(process: &Process) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let name =
        |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    let names = tasks.map(|task| name(task.unwrap()).trim().to_owned());
    names.filter(|name| !name.starts_with("tokio-")).collect()
}

/// The open databases of a process.
fn databases(process: &Process) -> Vec<String> {
    let open = fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap();
    let targets = open.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let names = targets.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut names: Vec<String> = names
        .filter(|name| Path::new(name).extension() == Some("db".as_ref()))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The number of voluntary context switches of a process.
fn voluntary_switches(process: &Process) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let switches = |status: String| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    tasks
        .filter_map(|task| switches(fs::read_to_string(task.unwrap().path().join("status")).ok()?))
        .sum()
}

#[tokio::test]
async fn facing_opens_only_what_is_used_and_sleeps() {
    let (_folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    buy(&facing, ADA).await;
    until_stored(&facing, "u1", 1).await;
    for path in ["/health", "/metrics", "/readyz", "/-/ready"] {
        assert!(
            plain()
                .get(facing.path(path))
                .send()
                .await
                .unwrap()
                .status()
                .is_success(),
            "{path}"
        );
    }
    let threads = own_threads(&facing);
    assert!(threads.len() <= 9, "{threads:?}");
    assert_eq!(databases(&facing), ["shop.db"]);
    let started = Instant::now();
    let before = voluntary_switches(&facing);
    // Polling by 5 ms would be 200 a second for each log.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let switches = voluntary_switches(&facing) - before;
    let seconds = started.elapsed().as_secs() + 1;
    assert!(switches / seconds < 100, "{switches} in {seconds} s");
}

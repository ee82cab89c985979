//! A disk that is full or fails, at any write to the embedded log or store: acknowledged purchases are kept, a log that
//! rejects purchases is not ready, and a verification is clean afterwards.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, stream};
use shop_core::conformance::skip;

use crate::kills::chosen;
use crate::process::{Binary, Process, buy, get, stored, until};
use crate::servers::environment;
use crate::verify::{manage, text};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
/// The number of purchases after the fault.
const PURCHASES: usize = 6;

/// A fault of the disk.
#[derive(Debug, Clone, Copy)]
struct DiskFault {
    /// The file whose writes fail, with its write-ahead log.
    file: &'static str,
    /// The number of writes and syncs that succeed before.
    after: usize,
    errno: i32,
    /// The number of calls that fail.
    times: usize,
}

/// Compiles the library that fails writes. `None` without a compiler, which is logged.
async fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) =
        (concat!(env!("CARGO_MANIFEST_DIR"), "/tests/processes/disk_faults.c"), folder.join("faults.so"));
    let mut compiler = tokio::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl", "-lpthread"]);
    match compiler.status().await {
        Ok(status) if status.success() => Some(library),
        outcome => {
            let why = format!("a library that fails writes cannot be compiled: {outcome:?}");
            skip("cc", environment("SHOP_TEST_REQUIRE").as_deref(), &why);
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_fault_at_any_write_loses_nothing_and_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = library(folder.path()).await else { return };
    // One round tries every sixth write; SHOP_TEST_ROUNDS=6 and more all of them.
    let stride = usize::try_from(6 / chosen("SHOP_TEST_ROUNDS").unwrap_or(1).clamp(1, 6)).unwrap();
    let faults = (0..24).step_by(stride).flat_map(|after| {
        [(ENOSPC, 1), (ENOSPC, usize::MAX >> 1), (EIO, 1), (EIO, usize::MAX >> 1)]
            .map(|(errno, times)| DiskFault { file: "shop.db", after, errno, times })
    });
    let all: Vec<DiskFault> = faults.collect();
    let library = &library;
    let survived = stream::iter(all).map(|fault| async move { (fault, survive(library, fault).await) });
    let survived: Vec<(DiskFault, usize)> = survived.buffer_unordered(4).collect().await;
    for errno in [ENOSPC, EIO] {
        let refused = survived.iter().filter(|(fault, _)| fault.errno == errno);
        let refused: usize = refused.map(|(_, refused)| refused).sum();
        assert!(refused >= PURCHASES, "errno {errno} was met: {refused}");
    }
}

/// Buys during a fault, kills the process, starts another one without the fault, and counts. Returns the number of
/// rejected purchases.
async fn survive(library: &Path, fault: DiskFault) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("fault");
    let settings =
        [("LD_PRELOAD", library.to_str().unwrap()), ("SHOP_TEST_DISK_FAULT", control.to_str().unwrap())];
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let body = |number: usize| format!(r#"{{"username":"ada","userid":"u{number}","price":1}}"#);
    assert_eq!(buy(&facing, &body(0)).await.0, 201, "{fault:?}");
    let DiskFault { file, after, errno, times } = fault;
    // Renamed, so that the process does not read a partial file.
    std::fs::write(folder.path().join("new"), format!("{file} {after} {errno} {times}")).unwrap();
    std::fs::rename(folder.path().join("new"), &control).unwrap();
    let mut outcomes = vec!["acknowledged".to_owned()];
    for number in 1..=PURCHASES {
        let (status, response) = buy(&facing, &body(number)).await;
        outcomes.push(match (status, response["outcome"].as_str()) {
            (201, _) => "acknowledged".to_owned(),
            (503, Some(outcome)) => outcome.to_owned(),
            unexpected => panic!("{fault:?}: {unexpected:?} {response}"),
        });
    }
    if times > 1 && outcomes.last().is_some_and(|last| last != "acknowledged") {
        assert_eq!(get(&facing.path("/-/ready")).await.0, 503, "{fault:?}: {outcomes:?}");
        assert_eq!(get(&facing.path("/health")).await.1["status"], "degraded", "{fault:?}: {outcomes:?}");
    }
    facing.kill().await;

    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    until("accept purchases again", async || buy(&facing, &body(99)).await.0 == 201).await;
    until("catch up", async || stored(&facing, "u99").await > 0).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        let count = stored(&facing, &format!("u{number}")).await;
        let expected = match outcome.as_str() {
            "acknowledged" => 1..=1,
            "not_sent" => 0..=0,
            _ => 0..=1,
        };
        assert!(expected.contains(&count), "{fault:?}: {count} of u{number}: {outcomes:?}");
    }
    assert!(facing.terminate().await.success());
    let verified = manage(folder.path(), &["verify", "--wait", "0"]).await;
    assert!(verified.status.success(), "{fault:?}: {}", text(&verified.stdout));
    outcomes.iter().filter(|outcome| *outcome != "acknowledged").count()
}

/// Of the flags, this is the one that SQLite lists. The other makes it sync by fdatasync.
#[test]
fn the_flags_of_sqlite_reach_its_build() {
    let used = "SELECT sqlite_compileoption_used('DEFAULT_MEMSTATUS=0')";
    let database = rusqlite::Connection::open_in_memory().unwrap();
    assert!(database.query_row(used, [], |row| row.get::<_, bool>(0)).unwrap(), ".cargo/config.toml");
}

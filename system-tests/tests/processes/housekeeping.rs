//! Maintenance of the embedded log: unused groups, retention, backups.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::try_join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use shop_client::NewPurchase;
use shop_core::ports::PurchaseSink;
use shop_core::{Clock, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use tokio::io::AsyncReadExt as _;

use crate::process::{
    ADA, ALL_ROLES, Binary, Process, get, must_buy, open_file, send, soon, stored, until,
    until_stored,
};
use crate::verify::{manage, printed, text};

/// Publishes purchases of `u1`.
async fn publish(folder: &Path, count: usize) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let sink = log.sink();
    let new = || {
        NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap()
    };
    let all: Vec<_> = (0..count)
        .map(|_| new().into_purchase(SystemClock.now(), || SystemClock.fresh_id()))
        .collect();
    try_join_all(all.iter().map(|purchase| sink.publish(purchase)))
        .await
        .unwrap();
    let closed = log.closed();
    drop((sink, log));
    closed.await;
}

async fn groups(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    printed(&manage(folder, &[&["groups"], words].concat()).await)
}

#[tokio::test]
async fn a_forgotten_group_does_not_keep_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, 3_000).await;
    let rehearsal =
        Process::start(Binary::Facing, folder, &[("KAFKA_GROUP_ID", "rehearsal")]).await;
    until_stored(&rehearsal, "u1", 3_000).await;
    rehearsal.stop().await;
    publish(folder, 3_000).await;

    let retention = [("SHOP_LOG_RETENTION", "1s")];
    let facing = Process::start(Binary::Facing, folder, &retention).await;
    until("consume them", async || facing.ingest().await["lag"] == 0).await;
    until("list both groups", async || {
        let (_, listed) = groups(folder, &["ls"]).await;
        listed.contains("purchase-group  next offset 6001, 0 behind\n")
            && listed.contains("rehearsal  next offset 3001, 3000 behind\n")
    })
    .await;
    let (code, printed) = groups(folder, &["forget", "purchase-group"]).await;
    assert!(
        code == Some(3) && printed.contains("active consumer"),
        "{printed}"
    );
    let (code, printed) = groups(folder, &["forget", "klingons"]).await;
    assert!(code == Some(3) && printed.contains("no group"), "{printed}");
    let locks = ["rehearsal", "klingons"]
        .map(|group| folder.join(format!("{group}.consumer.lock")).exists());
    assert_eq!(locks, [true, false]);
    assert_eq!(
        groups(folder, &["forget", "rehearsal"]).await,
        (Some(0), "rehearsal forgotten\n".to_owned())
    );
    facing.stop().await;
    let bytes = || folder.join("shop.db").metadata().unwrap().len();
    let before = bytes();
    // All records are older than the retention when the service starts; it deletes again after a minute.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let facing = Process::start(Binary::Facing, folder, &retention).await;
    until("delete the records", async || {
        let (_, listed) = groups(folder, &["ls", "--json"]).await;
        serde_json::from_str::<Value>(&listed).unwrap()["oldest"].is_null()
    })
    .await;
    must_buy(&facing, ADA).await;
    until_stored(&facing, "u1", 6_001).await;
    facing.stop().await;
    assert!(bytes() < before / 2, "{before} bytes, then {}", bytes());
    let (code, printed) = groups(folder, &["reset", "purchase-group", "--to-beginning"]).await;
    assert!(
        code == Some(0) && printed.starts_with("purchase-group is at offset 600"),
        "{printed}"
    );
    let (code, printed) = groups(folder, &["ls", "--kafka-bootstrap-servers", "127.0.0.1:1"]).await;
    assert!(
        code == Some(2)
            && printed.contains("kafka-consumer-groups.sh --bootstrap-server 127.0.0.1:1"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_backup_under_load_is_restored_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    std::fs::create_dir(&data).unwrap();
    let facing = Process::start(Binary::Facing, &data, &[]).await;
    let new = || {
        NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap()
    };
    let client = facing.client();
    let acknowledged = std::sync::Mutex::new(Vec::new());
    let mut known = Vec::new();
    let load = async {
        loop {
            let id = client.buy(new()).await.unwrap().receipt.id;
            acknowledged.lock().unwrap().push(id);
        }
    };
    let backup = async {
        until("buy", async || acknowledged.lock().unwrap().len() >= 200).await;
        known = acknowledged.lock().unwrap().clone();
        let output = manage(&data, &["backup", path("backup").to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            text(&output.stdout).contains("shop.db  "),
            "{}",
            text(&output.stdout)
        );
    };
    tokio::select! {
        () = backup => {}
        () = load => {}
    }
    facing.stop().await;

    let restored = path("restored");
    let restore = ["restore", path("backup").to_str().unwrap()].map(str::to_owned);
    let restore: Vec<&str> = restore.iter().map(String::as_str).collect();
    assert!(manage(&restored, &restore).await.status.success());
    let again = manage(&restored, &restore).await;
    assert!(again.status.code() == Some(3) && text(&again.stderr).contains("already"));
    let facing = Process::start(Binary::Facing, &restored, &[]).await;
    let output = manage(&restored, &["verify"]).await;
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    for id in &known {
        assert_eq!(
            get(&facing.path(&format!("/v1/purchases/{id}"))).await.0,
            200,
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_backup_is_piped_into_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    let [data, restored] = ["data", "restored"].map(|name| folder.path().join(name));
    std::fs::create_dir(&data).unwrap();
    publish(&data, 2_000).await;
    let facing = Process::start(Binary::Facing, &data, &[ALL_ROLES]).await;
    until_stored(&facing, "u1", 2_000).await;

    let command = |folder: &Path, word| {
        let mut command = Binary::Management.command(&[
            ("SHOP_DATA_DIR", folder.to_str().unwrap()),
            ("LOG_LEVEL", "warn"),
        ]);
        command
            .args([word, "-", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    };
    let mut backup = command(&data, "backup").spawn().unwrap();
    let archive: Stdio = backup.stdout.take().unwrap().try_into().unwrap();
    let restore = command(&restored, "restore")
        .stdin(archive)
        .spawn()
        .unwrap();
    let ends = async { tokio::join!(backup.wait_with_output(), restore.wait_with_output()) };
    let (backup, restore) = soon("end both", ends).await;
    let backup = backup.unwrap();
    let restore = restore.unwrap();
    assert!(
        backup.status.success() && restore.status.success(),
        "{backup:?} {restore:?}"
    );
    // Standard output had the archive.
    let report: Value = serde_json::from_slice(&backup.stderr).unwrap();
    assert_eq!(
        (
            report["files"].as_array().unwrap().len(),
            &report["left_out"]
        ),
        (5, &json!([])),
        "{report}"
    );
    facing.stop().await;
    for folder in [&data, &restored] {
        let mut names = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        assert!(
            names.all(|name| !name.to_string_lossy().starts_with("stream-")),
            "{folder:?}"
        );
    }

    let facing = Process::start(Binary::Facing, &restored, &[ALL_ROLES]).await;
    assert_eq!(stored(&facing, "u1").await, 2_000);
    let verified = manage(&restored, &["verify"]).await;
    let printed = text(&verified.stdout);
    assert!(
        verified.status.success() && printed.contains(": 2000 records"),
        "{printed}"
    );
    assert!(printed.contains(": 2000 purchases"), "{printed}");
}

#[tokio::test]
async fn a_backup_that_is_stopped_or_killed_leaves_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, 2_000).await;
    let copies = || {
        let names = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("stream-"))
            .count()
    };
    // The receiver never reads: the archive is larger than a pipe.
    let stopped = async |how: Signal, has_begun: bool| {
        let mut backup = Binary::Management.command(&[("SHOP_DATA_DIR", folder.to_str().unwrap())]);
        let mut backup = backup
            .args(["backup", "-"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        until("copy", async || copies() == 1).await;
        if has_begun {
            soon(
                "write",
                backup.stdout.as_mut().unwrap().read_exact(&mut [0]),
            )
            .await
            .unwrap();
        }
        send(&backup, how);
        soon("end", backup.wait()).await.unwrap();
    };
    for has_begun in [false, true] {
        stopped(Signal::TERM, has_begun).await;
        assert_eq!(copies(), 0, "{has_begun}");
    }
    stopped(Signal::KILL, true).await;
    assert_eq!(copies(), 1);
    assert!(
        manage(folder, &["erase", "user", "u1", "--confirm", "--vacuum"])
            .await
            .status
            .success()
    );
    assert_eq!(copies(), 0);
}

#[tokio::test]
async fn a_purchase_is_not_older_than_what_retention_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), 1).await;
    // The machine has started with a clock that is behind.
    let seen = SystemClock
        .now()
        .saturating_add(Duration::from_secs(400 * 86_400));
    let file = open_file(folder.path());
    file.execute(
        "INSERT OR REPLACE INTO clock (rowid, seen) VALUES (2, ?1)",
        [seen.as_millis()],
    )
    .unwrap();
    drop(file);
    let facing = Process::start(
        Binary::Facing,
        folder.path(),
        &[("SHOP_PURCHASE_RETENTION", "365d")],
    )
    .await;
    let bought = facing
        .client()
        .buy(
            NewPurchase::for_user("u1")
                .with_user_name("ada")
                .with_price("1")
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(bought.purchase.timestamp, seen);
}

#[tokio::test]
async fn a_log_that_feeds_another_store_is_refused_at_the_start() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    facing.stop().await;
    let settings = [
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("SHOP_PORT", "0"),
        ("POSTGRES_URL", "postgresql://127.0.0.1:1/db"),
    ];
    let refused = soon("refuse", Binary::Facing.run(&[], &settings)).await;
    let printed = text(&refused.stderr);
    assert!(
        printed.contains("run `management groups forget purchase-group`"),
        "{printed}"
    );
    assert_eq!(refused.status.code(), Some(1));
}

#[tokio::test]
async fn a_backup_names_what_is_on_servers() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), 1).await;
    let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let postgres = ("POSTGRES_URL", "postgresql://127.0.0.1:1/db");
    let mongodb = ("MONGODB_URI", "mongodb://127.0.0.1:1/");
    for (number, (settings, left_out)) in [
        (
            &[postgres, ALL_ROLES][..],
            &["store", "users", "orders"][..],
        ),
        (&[mongodb], &["store"]),
        (&[kafka], &["log"]),
    ]
    .into_iter()
    .enumerate()
    {
        let data = [
            ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
            ("LOG_LEVEL", "warn"),
        ];
        let run = async |into: &str, more: &[&str]| {
            let into = folder.path().join(format!("{into}-{number}"));
            let words = [&["backup", into.to_str().unwrap()], more].concat();
            let output = Binary::Management
                .run(&words, &[&data[..], settings].concat())
                .await;
            assert!(output.status.success(), "{output:?}");
            text(&output.stdout)
        };
        let printed = run("text", &[]).await;
        let line = format!("\non servers, not in the backup: {}\n", left_out.join(", "));
        assert!(
            printed.contains("shop.db  ") && printed.ends_with(&line),
            "{printed}"
        );
        let report: Value = serde_json::from_str(&run("json", &["--json"]).await).unwrap();
        assert_eq!(report["left_out"], json!(left_out), "{report}");
    }
}

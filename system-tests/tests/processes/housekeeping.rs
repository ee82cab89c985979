//! Maintenance of the embedded log: unused groups, retention, backups.

use std::ffi::OsString;

use tokio::io::AsyncReadExt as _;

use crate::prelude::*;

/// Publishes purchases of `u1`, and closes the log.
async fn publish(folder: &Path, count: usize) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let sink = log.sink();
    let purchases = Vec::from_iter((0..count).map(|_| published_purchase_of("u1")));
    for receipt in sink.publish_many(&purchases).await {
        receipt.unwrap();
    }
    let closed = log.closed();
    drop((sink, log));
    soon("close", closed).await;
}

#[tokio::test]
async fn a_forgotten_group_does_not_keep_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let start = async |group| {
        let settings = [("KAFKA_GROUP_ID", group), ("SHOP_LOG_RETENTION", "1s")];
        let facing = Process::start(Binary::Facing, folder, &settings).await;
        until("consume all", async || facing.ingest().await["lag"] == 0).await;
        facing
    };
    publish(folder, 20).await;
    start("rehearsal").await.stop().await;
    publish(folder, 10).await;
    let facing = start("purchase-group").await;
    let mut terminal = Terminal::on(folder);
    terminal.run("groups ls").await;
    terminal.run("groups forget purchase-group").await;
    terminal.run("groups forget rehearsal").await;
    facing.stop().await;
    // All records are older than the retention when the service starts; it deletes again after a minute.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let facing = start("purchase-group").await;
    until("delete the records", async || {
        let listed = manage(folder, &["groups", "ls", "--json"]).await;
        text(&listed.stdout).contains(r#""oldest":null"#)
    })
    .await;
    facing.stop().await;
    terminal
        .run("groups reset purchase-group --to-beginning")
        .await;
    terminal.assert_shown("groups");
}

/// The copies that `backup -` has made in `folder`.
fn copies(folder: &Path) -> Vec<OsString> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("stream-"))
        .collect()
}

fn piped(folder: &Path, words: &[&str]) -> Command {
    let data = folder.to_str().unwrap();
    let settings = [("SHOP_DATA_DIR", data), ("LOG_LEVEL", "warn")];
    let mut command = Binary::Management.command(&settings);
    command
        .args(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn a_backup_is_piped_into_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    let [data, restored] = ["data", "restored"].map(|name| folder.path().join(name));
    std::fs::create_dir(&data).unwrap();
    publish(&data, 2_000).await;
    let facing = Process::start(Binary::Facing, &data, &[ALL_ROLES]).await;
    until_stored(&facing, "u1", 2_000).await;

    let mut backup = piped(&data, &["backup", "-"]).spawn().unwrap();
    let archive: Stdio = backup.stdout.take().unwrap().try_into().unwrap();
    let mut restore = piped(&restored, &["restore", "-"]);
    let ends = async { tokio::join!(backup.wait_with_output(), restore.stdin(archive).output()) };
    let (backup, restore) = soon("end both", ends).await;
    assert_ended(&backup.unwrap(), 0, "orders.db");
    assert_ended(&restore.unwrap(), 0, "orders.db");
    facing.stop().await;
    assert_eq!([copies(&data), copies(&restored)], [[""; 0]; 2]);

    let facing = Process::start(Binary::Facing, &restored, &[ALL_ROLES]).await;
    assert_eq!(stored(&facing, "u1").await, 2_000);
    assert_ended(&manage(&restored, &["verify"]).await, 0, ": 2000 records");
}

#[tokio::test]
async fn a_backup_that_is_stopped_or_killed_leaves_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    publish(folder, 2_000).await;
    // The receiver reads one byte, or none: the archive is larger than a pipe.
    for (signal, has_begun, left) in [
        (Signal::TERM, false, 0),
        (Signal::TERM, true, 0),
        (Signal::KILL, true, 1),
    ] {
        let mut backup = piped(folder, &["backup", "-"]).spawn().unwrap();
        until("copy", async || copies(folder).len() == 1).await;
        if has_begun {
            let archive = backup.stdout.as_mut().unwrap();
            soon("write", archive.read_u8()).await.unwrap();
        }
        send(&backup, signal);
        soon("end", backup.wait()).await.unwrap();
        assert_eq!(copies(folder).len(), left, "{signal:?}");
    }
    let erased = manage(folder, &["erase", "user", "u1", "--confirm", "--vacuum"]).await;
    assert_ended(&erased, 0, "");
    assert_eq!(copies(folder).len(), 0);
}

#[tokio::test]
async fn a_backup_names_what_is_on_servers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let data = path("data");
    std::fs::create_dir(&data).unwrap();
    publish(Path::new(&data), 1).await;
    let backup = path("backup");
    for (server, left_out) in [
        (
            ("POSTGRES_URL", "postgresql://127.0.0.1:1/db"),
            "store, users, orders",
        ),
        (("MONGODB_URI", "mongodb://127.0.0.1:1/"), "store"),
        (("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"), "log"),
    ] {
        let into = format!("{backup}-{}", server.0);
        let settings = [("SHOP_DATA_DIR", &*data), ALL_ROLES, server];
        let output = Binary::Management.run(&["backup", &into], &settings).await;
        let line = format!("\non servers, not in the backup: {left_out}\n");
        assert_ended(&output, 0, &line);
        assert_ended(&output, 0, "shop.db  ");
    }
    let restored = path("restored");
    let restore = ["restore", &*format!("{backup}-MONGODB_URI")];
    assert_ended(&manage(Path::new(&restored), &restore).await, 0, "shop.db");
    assert_ended(&manage(Path::new(&restored), &restore).await, 3, "already");
}

#[tokio::test]
async fn a_purchase_is_not_older_than_what_retention_has_seen() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), 1).await;
    // The machine has started with a clock that is behind.
    let seen = SystemClock
        .now()
        .saturating_add(Duration::from_secs(400 * 86_400));
    let sql = "INSERT OR REPLACE INTO clock (rowid, seen) VALUES (2, ?1)";
    open_file(folder.path())
        .execute(sql, [seen.as_millis()])
        .unwrap();
    let settings = [("SHOP_PURCHASE_RETENTION", "365d")];
    let facing = Process::start(Binary::Facing, folder.path(), &settings).await;
    let bought = facing.client().buy(purchase_of("u1")).await.unwrap();
    assert_eq!(bought.purchase.timestamp, seen);
}

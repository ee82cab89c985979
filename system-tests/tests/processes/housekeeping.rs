//! Maintenance of the embedded log: unused groups, retention, backups.

use tokio::io::AsyncReadExt as _;

use crate::prelude::*;

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
    append_all(folder, &[ADA; 20]).await;
    start("rehearsal").await.stop().await;
    append_all(folder, &[ADA; 10]).await;
    let facing = start("purchase-group").await;
    let mut terminal = Terminal::on(folder, &[]);
    terminal
        .run(
            "management groups ls
            management groups forget purchase-group
            management groups forget rehearsal",
        )
        .await;
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
        .run("management groups reset purchase-group --to-beginning")
        .await;
    terminal.assert_shown("groups");
}

/// The number of copies that `backup -` has made in `folder`.
fn count_copies(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("stream-")).count()
}

#[tokio::test]
async fn a_backup_is_piped_into_a_restore() {
    let folder = tempfile::tempdir().unwrap();
    let restored = tempfile::tempdir().unwrap();
    append_all(folder.path(), &[ADA; 2_000]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &[ALL_ROLES]).await;
    until_stored(&facing, "u1", 2_000).await;

    let management = Binary::Management.path();
    let script = format!(
        "SHOP_DATA_DIR={} {management} backup - | SHOP_DATA_DIR={} {management} restore -",
        folder.path().display(),
        restored.path().display(),
    );
    let output = Command::new("sh").args(["-c", &script]).output();
    let output = soon("end both", output).await.unwrap();
    assert_ended(&output, 0, "orders.db");
    facing.stop().await;
    assert_eq!(count_copies(folder.path()), 0);

    let facing = Process::start(Binary::Facing, restored.path(), &[ALL_ROLES]).await;
    assert_eq!(stored(&facing, "u1").await, 2_000);
}

#[tokio::test]
async fn a_backup_that_is_stopped_or_killed_leaves_no_copy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    append_all(folder, &[ADA; 2_000]).await;
    // The receiver reads one byte, or none: the archive is larger than a pipe.
    for (signal, has_begun, left) in [
        (Signal::TERM, false, 0),
        (Signal::TERM, true, 0),
        (Signal::KILL, true, 1),
    ] {
        let data = ("SHOP_DATA_DIR", folder.to_str().unwrap());
        let mut backup = Binary::Management.command(&[data]);
        backup.args(["backup", "-"]).stdout(Stdio::piped());
        let mut backup = backup.spawn().unwrap();
        until("copy", async || count_copies(folder) == 1).await;
        if has_begun {
            let archive = backup.stdout.as_mut().unwrap();
            soon("write", archive.read_u8()).await.unwrap();
        }
        send(&backup, signal);
        soon("end", backup.wait()).await.unwrap();
        assert_eq!(count_copies(folder), left, "{signal:?}");
    }
    let erased = manage(folder, &["erase", "user", "u1", "--confirm", "--vacuum"]).await;
    assert_ended(&erased, 0, "");
    assert_eq!(count_copies(folder), 0);
}

#[tokio::test]
async fn a_backup_names_what_is_on_servers() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("shop");
    std::fs::create_dir(&folder).unwrap();
    append(&folder, ADA).await;
    let shop = folder.display();
    let mut terminal = Terminal::on(&folder, &[ALL_ROLES]);
    terminal
        .run(&format!(
            "POSTGRES_URL=postgresql://127.0.0.1:1/db management backup {shop}-postgres
            MONGODB_URI=mongodb://127.0.0.1:1/ management backup {shop}-mongo
            KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1 management backup {shop}-kafka
            SHOP_DATA_DIR={shop}-restored management restore {shop}-mongo
            SHOP_DATA_DIR={shop}-restored management restore {shop}-mongo"
        ))
        .await;
    terminal.assert_shown("backup");
}

//! Folders and files that cannot be used: reported at start and afterwards.

use std::fs;

use rusqlite::Connection;

use crate::process::{ADA, Binary, Process, buy, get, until};

/// The output of the binary on a prepared folder.
async fn refusal(prepare: impl FnOnce(&std::path::Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let output = Binary::Facing.run(&[], &[("SHOP_DATA_DIR", folder.path().to_str().unwrap())]).await;
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn unusable_folder_is_reported_with_path_and_remedy() {
    let name = "shop.db";
    let printed = refusal(|folder| fs::write(folder.join(name), "not a database".repeat(100)).unwrap()).await;
    assert!(printed.contains(name) && printed.contains("not a database of this program"), "{printed}");
    let newer = |folder: &std::path::Path| {
        let connection = Connection::open(folder.join(name)).unwrap();
        connection.pragma_update(None, "application_id", 0x5368_6f70).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
    };
    let printed = refusal(newer).await;
    assert!(printed.contains(name) && printed.contains("newer version"), "{printed}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = Binary::Management.run(&[], &[("SHOP_DATA_DIR", file.path().to_str().unwrap())]).await;
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(
        printed.contains("SHOP_DATA_DIR") && printed.contains(file.path().to_str().unwrap()),
        "{printed}"
    );
}

#[tokio::test]
async fn locked_log_is_a_503_until_unlocked() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    assert_eq!(buy(&facing, ADA).await.0, 201);
    let connection = Connection::open(folder.path().join("shop.db")).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, body) = buy(&facing, ADA).await;
    assert_eq!(status, 503);
    assert_eq!(body["error"], "Failed to record purchase - messaging system unavailable");
    assert_eq!(body["outcome"], "not_sent", "{body}");
    connection.execute_batch("ROLLBACK").unwrap();
    until("accept purchases again", async || buy(&facing, ADA).await.0 == 201).await;
    assert_eq!(get(&facing.path("/-/ready")).await.0, 200);
}

#[tokio::test]
async fn deleted_folder_accepts_no_purchase() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let facing = Process::start(Binary::Facing, &data, &[]).await;
    assert_eq!(buy(&facing, ADA).await.0, 201);
    fs::remove_dir_all(&data).unwrap();
    let (status, body) = buy(&facing, ADA).await;
    assert_eq!((status, &body["outcome"]), (503, &"not_sent".into()), "{body}");
    assert_eq!(get(&facing.path("/-/ready")).await.0, 503);
}

#[tokio::test]
async fn a_held_lock_is_reported_with_its_holder() {
    let printed = refusal(|folder| {
        let lock = fs::File::create(folder.join("shop.lock")).unwrap();
        lock.lock().unwrap();
        // Held until this process ends.
        std::mem::forget(lock);
    })
    .await;
    let parts = ["SHOP_DATA_DIR", "another process holds the lock of this file", "shop.lock", "process="];
    assert!(parts.iter().all(|part| printed.contains(part)), "{printed}");
}

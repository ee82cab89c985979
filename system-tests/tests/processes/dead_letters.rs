//! Records that can never be stored, and their resolution by `management dlq`.

use crate::prelude::*;

#[tokio::test]
async fn dlq_drop_selects_records() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let folder = folder.path();
    for value in ["poison", "\u{1b}[2J", r#"{"username":"ada","userid":"u1"}"#] {
        append(folder, value).await;
    }
    until("dead-letter them", async || {
        dead_lettered(&facing).await == 3
    })
    .await;
    let mut terminal = Terminal::on(folder);
    for words in [
        "dlq drop --all --dry-run",
        "dlq drop purchases-0-2",
        "dlq ls",
        "dlq replay purchases-0-3 --dry-run",
        "dlq drop --all",
        "dlq ls",
        "verify",
    ] {
        terminal.run(words).await;
    }
    terminal.assert_shown("dlq-drop");
    facing.stop().await;
    // Other files are closed cleanly.
    assert!(!folder.join("shop.db-wal").exists());
}

#[tokio::test]
async fn too_many_dead_letters_stop_ingest_and_fail_the_process() {
    let folder = tempfile::tempdir().unwrap();
    for value in ["poison 1", "poison 2", "poison 3"] {
        append(folder.path(), value).await;
    }
    let start = async |limit| {
        let settings = [("SHOP_DEAD_LETTER_LIMIT", limit)];
        Process::start(Binary::Management, folder.path(), &settings).await
    };
    let management = start("2").await;
    until("stop", async || {
        management.ingest().await["phase"] == "stopped"
    })
    .await;
    let why = management.ingest().await["stopped_because"].to_string();
    assert!(why.contains("SHOP_DEAD_LETTER_LIMIT"), "{why}");
    assert_eq!(get(&management.path("/-/ready")).await.0, 503);
    // The process keeps serving, and exits with the error.
    assert_eq!(management.terminate().await.code(), Some(1));

    let unlimited = start("0").await;
    until("pass the records", async || {
        unlimited.ingest().await["lag"] == 0
    })
    .await;
    let listed = manage(folder.path(), &["dlq", "ls"]).await;
    assert_eq!(
        listed.stdout.iter().filter(|byte| **byte == b'\n').count(),
        3
    );
}

/// Waits until the store has failed over a record. One that it takes after that is evidence that the record is stuck.
pub(crate) async fn fail_over_the_first(process: &Process) {
    until("fail over a record", async || {
        process.ingest().await["waiting_for"]["store"].is_string()
    })
    .await;
}

#[tokio::test]
async fn a_record_that_the_store_rejects_is_parked_while_ingest_runs() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let folder = folder.path();
    must_buy(&facing, ADA).await;
    until_stored(&facing, "u1", 1).await;
    let store = open_file(folder);
    store
        .execute_batch(
            "CREATE TRIGGER rule BEFORE INSERT ON buyers WHEN NEW.username = 'eve'
             BEGIN SELECT RAISE(ABORT, 'not eve'); END",
        )
        .unwrap();
    // Appended and not stored, as by a process without ingest.
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    for name in ["eve", "ada"] {
        let mut purchase = published_purchase_of("u1");
        purchase.user_name = name.parse().unwrap();
        log.sink().publish(&purchase).await.unwrap();
        fail_over_the_first(&facing).await;
    }
    drop(log);
    until("report it as stuck", async || {
        facing.ingest().await["stuck"]["offset"] == 2
    })
    .await;
    until_stored(&facing, "u1", 2).await;
    let series = r#"shop_ingest_stuck_seconds{topic="purchases",partition="0",offset="2",error="#;
    assert!(facing.metrics().await.contains(series));
    let settings = [
        ("SHOP_DATA_DIR", folder.to_str().unwrap()),
        ("PORT", facing.port()),
    ];
    let status = Binary::Management.run(&["status"], &settings).await;
    assert_ended(&status, 1, "management dlq park purchases-0-2\n");

    let mut terminal = Terminal::on(folder);
    terminal.run("dlq park purchases-0-1 purchases-0-2").await;
    terminal.run("dlq park purchases-0-2 --note no-eve").await;
    until("continue after it", async || {
        let ingest = facing.ingest().await;
        ingest["stuck"].is_null() && ingest["lag"] == 0
    })
    .await;
    terminal.run("dlq show --reason parked").await;
    terminal.run("verify").await;
    store.execute_batch("DROP TRIGGER rule").unwrap();
    terminal.run("dlq replay").await;
    terminal.assert_shown("dlq-park");
    until_stored(&facing, "u1", 3).await;
}

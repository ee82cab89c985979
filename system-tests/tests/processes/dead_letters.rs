//! Records that can never be stored, and their resolution by `management dlq`.

use crate::prelude::*;

#[tokio::test]
async fn dlq_drop_selects_records() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let values = ["poison", "\u{1b}[2J", r#"{"username":"ada","userid":"u1"}"#];
    append_all(folder.path(), &values).await;
    until("dead-letter them", async || {
        dead_lettered(&facing).await == 3
    })
    .await;
    let mut terminal = Terminal::on(folder.path(), &[]);
    terminal
        .run(
            "management dlq drop --all --dry-run
            management dlq drop purchases-0-2
            management dlq ls
            management dlq replay purchases-0-3 --dry-run
            management dlq drop --all
            management dlq ls
            management verify",
        )
        .await;
    terminal.assert_shown("dlq-drop");
}

#[tokio::test]
async fn too_many_dead_letters_stop_ingest_and_fail_the_process() {
    let folder = tempfile::tempdir().unwrap();
    append_all(folder.path(), &["poison 1", "poison 2", "poison 3"]).await;
    let start = async |limit| {
        let settings = [("SHOP_DEAD_LETTER_LIMIT", limit)];
        Process::start(Binary::Management, folder.path(), &settings).await
    };
    let management = start("2").await;
    until("stop", async || {
        let why = &management.ingest().await["stopped_because"];
        why.to_string().contains("SHOP_DEAD_LETTER_LIMIT")
    })
    .await;
    // The process keeps serving, and exits with the error.
    assert_eq!(management.terminate().await.code(), Some(1));

    let unlimited = start("0").await;
    until("pass the records", async || {
        unlimited.ingest().await["lag"] == 0
    })
    .await;
    let listed = manage(folder.path(), &["dlq", "ls"]).await;
    assert_eq!(text(&listed.stdout).lines().count(), 3);
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
    append(folder, ADA).await;
    until_stored(&facing, "u1", 1).await;
    let store = open_file(folder);
    store
        .execute_batch(
            "CREATE TRIGGER rule BEFORE INSERT ON buyers WHEN NEW.username = 'eve'
             BEGIN SELECT RAISE(ABORT, 'not eve'); END",
        )
        .unwrap();
    for value in [r#"{"username":"eve","userid":"u1","price":1}"#, ADA] {
        append(folder, value).await;
        fail_over_the_first(&facing).await;
    }
    until("report it as stuck", async || {
        facing.ingest().await["stuck"]["offset"] == 2
    })
    .await;
    until_stored(&facing, "u1", 2).await;

    let mut terminal = Terminal::on(folder, &[("PORT", facing.port())]);
    terminal
        .run(
            "management status
            management dlq park purchases-0-1 purchases-0-2
            management dlq park purchases-0-2 --note no-eve",
        )
        .await;
    until("continue after it", async || {
        let ingest = facing.ingest().await;
        ingest["stuck"].is_null() && ingest["lag"] == 0
    })
    .await;
    store.execute_batch("DROP TRIGGER rule").unwrap();
    terminal
        .run(
            "management dlq show --reason parked
            management verify
            management dlq replay",
        )
        .await;
    terminal.assert_shown("dlq-park");
    until_stored(&facing, "u1", 3).await;
}

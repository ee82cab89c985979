//! `management verify`.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use shop_client::NewPurchase;
use shop_core::log::LogRecord;
use shop_core::{Clock as _, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

use crate::process::{ADA, Binary, Process, buy, get, must_buy, open_file, until};

/// Runs management with these arguments on `folder`.
pub(crate) async fn manage(folder: &Path, words: &[&str]) -> Output {
    Binary::Management
        .run(
            words,
            &[
                ("SHOP_DATA_DIR", folder.to_str().unwrap()),
                ("LOG_LEVEL", "warn"),
            ],
        )
        .await
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command has printed and logged, without its lines of the audit log.
pub(crate) fn printed(output: &Output) -> (Option<i32>, String) {
    let printed = text(&output.stdout);
    let logged = text(&output.stderr);
    let logged = logged
        .lines()
        .filter(|line| !line.contains(r#""target":"audit""#));
    (
        output.status.code(),
        format!("{printed}{}", logged.collect::<String>()),
    )
}

/// Appends a record, as another producer.
pub(crate) async fn append(folder: &Path, value: &str) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let record = LogRecord::new(0, SystemClock.now(), Some(value.to_owned().into()));
    log.append(record).await.unwrap();
}

/// The number of dead-lettered records that facing reports.
pub(crate) async fn dead_lettered(facing: &Process) -> u64 {
    facing.ingest().await["dead_lettered"].as_u64().unwrap()
}

#[tokio::test]
async fn verify_names_missing_and_mismatched_purchases() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..5 {
        buy(&facing, ADA).await;
    }
    let order = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("29.99")
        .unwrap();
    let lost = facing.client().buy(order).await.unwrap().purchase.id;
    until("store all", async || {
        get(&facing.path("/getAllUserBuys/u1")).await.1["count"] == 6
    })
    .await;
    facing.stop().await;
    // As by an old backup, or by mistake.
    let store = open_file(folder.path());
    let newest = "SELECT id FROM purchases ORDER BY timestamp DESC, id DESC LIMIT 1";
    assert_eq!(
        store
            .execute(&format!("DELETE FROM purchases WHERE id = ({newest})"), [])
            .unwrap(),
        1
    );
    let oldest = "SELECT id FROM purchases ORDER BY timestamp, id LIMIT 1";
    store
        .execute(
            &format!("UPDATE purchases SET price = '1', hash = NULL WHERE id = ({oldest})"),
            [],
        )
        .unwrap();

    let output = manage(folder.path(), &["verify", "--wait", "0"]).await;
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("missing 1, twice 0, dead-lettered 0\n"),
        "{printed}"
    );
    assert!(
        printed.contains(&format!("  missing: {lost} at purchases-0-6\n")),
        "{printed}"
    );
    assert!(
        printed.contains("  stored with other content: ") && printed.contains("at purchases-0-1\n"),
        "{printed}"
    );
    let errors = text(&output.stderr);
    assert!(
        errors.contains("differs from the log")
            && errors.contains("reset the offsets of its group"),
        "{errors}"
    );
    let output = manage(folder.path(), &["verify", "--wait", "0", "--named", "0"]).await;
    assert!(
        text(&output.stdout).contains("  missing: 1 more\n"),
        "{}",
        text(&output.stdout)
    );
    let output = manage(folder.path(), &["verify", "--wait", "0", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["clean"], &report["missing"], &report["twice"]),
        (&json!(false), &json!(1), &json!(0))
    );
    assert_eq!(
        report["missing_records"],
        json!([{ "id": lost.to_string(), "position": "purchases-0-6" }])
    );
}

#[tokio::test]
async fn commands_report_errors_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), ADA).await;
    for (words, part, code) in [
        (
            &["verfy"][..],
            "Error: unknown command `verfy`; did you mean `verify`?",
            2,
        ),
        (
            &[
                "verify",
                "--kafka-bootstrap-servers",
                "127.0.0.1:1",
                "--purchases-topic",
                "no topic",
            ],
            "topic",
            2,
        ),
        (&["migrate"], "MONGODB_URI", 2),
        (&["dlq", "ls", "--topic", "purchase"], "unknown topic", 2),
        (
            &["dlq", "ls", "--topic", "user_creatd"],
            "purchases, user_created or order_created",
            2,
        ),
        (
            &["dlq", "replay", "purchases-0-7"],
            "there is no dead-lettered record at purchases-0-7",
            3,
        ),
        (
            &["replay", "purchases", "--from-beginning"],
            "choose users or orders",
            2,
        ),
        (&["import", "nowhere.ndjson"], "nowhere.ndjson", 3),
    ] {
        let output = manage(folder.path(), words).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {printed}");
        assert!(printed.contains(part), "{words:?}: {printed}");
    }
    let help = manage(folder.path(), &["help", "replay"]).await;
    let printed = text(&help.stdout);
    assert!(
        help.status.success() && printed.contains("--from-beginning"),
        "{printed}"
    );
}

#[tokio::test]
async fn verify_of_a_copy_of_another_time_says_what_to_do() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..3 {
        must_buy(&facing, ADA).await;
    }
    facing.stop().await;
    let file = open_file(folder.path());
    let version: i64 = file
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    for (other, remedy) in [
        (
            version - 1,
            "start a service of this version on it first, which migrates it for good",
        ),
        (
            version + 1,
            "never migrated back: use that version or a later one, or restore a copy from before",
        ),
    ] {
        file.pragma_update(None, "user_version", other).unwrap();
        let output = manage(folder.path(), &["verify"]).await;
        let errors = text(&output.stderr);
        assert!(
            output.status.code() == Some(3) && errors.contains(remedy),
            "{errors}"
        );
    }
    file.pragma_update(None, "user_version", version).unwrap();
    // As with an older copy of the log.
    let older = "DELETE FROM records WHERE offset > 1; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'records';";
    file.execute_batch(older).unwrap();
    drop(file);
    let printed = text(&manage(folder.path(), &["verify"]).await.stdout);
    assert!(
        printed.contains("\nstored but never written to this log 2: it is older,"),
        "{printed}"
    );
}

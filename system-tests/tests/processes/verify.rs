//! `management verify`.

use std::path::Path;
use std::process::Output;

use rusqlite::Connection;
use serde_json::{Value, json};
use shop_client::NewPurchase;
use shop_core::log::LogRecord;
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

use crate::kafka::{settings, start};
use crate::process::{Binary, Process, buy, get, until};
use crate::servers::Servers;

const ADA: &str = r#"{"username":"ada","userid":"u1","price":29.99}"#;

/// Runs management with these arguments on `folder`.
pub(crate) async fn manage(folder: &Path, words: &[&str]) -> Output {
    Binary::Management.run(words, &[("SHOP_DATA_DIR", folder.to_str().unwrap()), ("LOG_LEVEL", "warn")]).await
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command has printed and logged, without its lines of the audit log.
pub(crate) fn printed(output: &Output) -> (Option<i32>, String) {
    let (printed, logged) = (text(&output.stdout), text(&output.stderr));
    let logged = logged.lines().filter(|line| !line.contains(r#""target":"audit""#));
    (output.status.code(), format!("{printed}{}", logged.collect::<String>()))
}

/// Appends a record, as another producer.
pub(crate) async fn append(folder: &Path, value: &str) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await.unwrap();
    let record = LogRecord::new(0, SystemClock.now(), Some(value.to_owned().into()));
    log.append(record).await.unwrap();
}

/// The number of dead-lettered records that facing reports.
pub(crate) async fn dead_lettered(facing: &Process) -> u64 {
    get(&facing.path("/health")).await.1["ingest"]["dead_lettered"].as_u64().unwrap()
}

#[tokio::test]
async fn verify_names_missing_and_mismatched_purchases() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..5 {
        buy(&facing, ADA).await;
    }
    let order = NewPurchase::of("u1").named("ada").priced("29.99").unwrap();
    let lost = facing.client().buy(order).await.unwrap().purchase.id;
    until("store all", async || get(&facing.path("/getAllUserBuys/u1")).await.1["count"] == 6).await;
    assert!(facing.terminate().await.success());
    // As by an old backup, or by mistake.
    let store = Connection::open(folder.path().join("shop.db")).unwrap();
    let newest = "SELECT id FROM purchases ORDER BY timestamp DESC, id DESC LIMIT 1";
    assert_eq!(store.execute(&format!("DELETE FROM purchases WHERE id = ({newest})"), []).unwrap(), 1);
    let oldest = "SELECT id FROM purchases ORDER BY timestamp, id LIMIT 1";
    store
        .execute(&format!("UPDATE purchases SET price = '1', hash = NULL WHERE id = ({oldest})"), [])
        .unwrap();

    let output = manage(folder.path(), &["verify", "--wait", "0"]).await;
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("missing 1, twice 0, dead-lettered 0\n"), "{printed}");
    assert!(printed.contains(&format!("  missing: {lost} at purchases-0-6\n")), "{printed}");
    assert!(
        printed.contains("  stored with other content: ") && printed.contains("at purchases-0-1\n"),
        "{printed}"
    );
    let errors = text(&output.stderr);
    assert!(
        errors.contains("differs from the log") && errors.contains("reset the offsets of its group"),
        "{errors}"
    );
    let output = manage(folder.path(), &["verify", "--wait", "0", "--named", "0"]).await;
    assert!(text(&output.stdout).contains("  missing: 1 more\n"), "{}", text(&output.stdout));
    let output = manage(folder.path(), &["verify", "--wait", "0", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["clean"], &report["missing"], &report["twice"]),
        (&json!(false), &json!(1), &json!(0))
    );
    assert_eq!(report["missing_records"], json!([{ "id": lost.to_string(), "position": "purchases-0-6" }]));
}

#[tokio::test]
async fn commands_report_errors_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), ADA).await;
    for (words, part, code) in [
        (&["verfy"][..], "Error: unknown command `verfy`; did you mean `verify`?", 2),
        (
            &["verify", "--kafka-bootstrap-servers", "127.0.0.1:1", "--purchases-topic", "no topic"],
            "topic",
            2,
        ),
        (&["migrate"], "MONGODB_URI", 2),
        (&["dlq", "ls", "--topic", "purchase"], "unknown topic", 2),
        (&["dlq", "replay", "purchases-0-7"], "there is no dead-lettered record at purchases-0-7", 3),
        (&["replay", "purchases", "--from-beginning"], "choose users or orders", 2),
        (&["import", "nowhere.ndjson"], "nowhere.ndjson", 3),
    ] {
        let output = manage(folder.path(), words).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {printed}");
        assert!(printed.contains(part), "{words:?}: {printed}");
    }
    let help = manage(folder.path(), &["help", "replay"]).await;
    let printed = text(&help.stdout);
    assert!(help.status.success() && printed.contains("--from-beginning"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_and_dlq_work_on_kafka_and_mongodb() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else { return };
    let facing = start(Binary::Facing, &servers, &[]).await;
    let bought = async || buy(&facing, ADA).await.0 == 201;
    until("accept a purchase", bought).await;
    for _ in 0..10 {
        assert!(bought().await);
    }
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    log.append(LogRecord::new(0, SystemClock.now(), Some("poison".into()))).await.unwrap();
    let settings = settings(&servers);
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let run = async |words: &[&str]| {
        let output = Binary::Management.run(words, &settings).await;
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, printed, errors) = run(&["verify"]).await;
    assert!(
        code == Some(0) && printed.contains("missing 0, twice 0, dead-lettered 1\n"),
        "{printed}{errors}"
    );
    let (code, printed, errors) = run(&["dlq", "ls"]).await;
    assert!(
        code == Some(0) && printed.lines().count() == 1 && printed.contains("undecodable  poison"),
        "{printed}{errors}"
    );
    let place = printed.split(' ').next().unwrap().to_owned();

    let parked = async |place: &str| run(&["dlq", "park", place]).await.2;
    let known = format!("{place} is dead-lettered already, or was replayed or dropped");
    assert!(parked(&place).await.contains(&known), "{known}");

    // It is dead-lettered again, at another position.
    assert_eq!(run(&["dlq", "replay", &place]).await.1, "1 replayed\n");
    until("dead-letter it again", async || dead_lettered(&facing).await == 2).await;
    let (_, printed, _) = run(&["dlq", "ls"]).await;
    assert!(printed.lines().count() == 1 && !printed.contains(&format!("{place} ")), "{printed}");
    assert_eq!(run(&["dlq", "drop", "--reason", "undecodable"]).await.1, "1 dropped\n");
    assert_eq!(run(&["dlq", "ls"]).await.1, "");
    let (code, printed, errors) = run(&["verify"]).await;
    assert!(
        code == Some(0) && printed.contains("missing 0, twice 0, dead-lettered 0\n"),
        "{printed}{errors}"
    );
    assert!(printed.contains("resolved dead letters 2\n"), "{printed}");

    let order = NewPurchase::of("u1").named("ada").priced("1").unwrap();
    let place = facing.client().buy(order).await.unwrap().receipt.position.unwrap().to_string();
    until("reject a stored record", async || parked(&place).await.contains("is stored")).await;
    assert_eq!(run(&["erase", "user", "u1", "--confirm"]).await.0, Some(0));
    assert!(parked(&place).await.contains("is erased"), "{place}");
}

#[tokio::test]
async fn verify_of_a_copy_of_another_time_says_what_to_do() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..3 {
        assert_eq!(buy(&facing, ADA).await.0, 201);
    }
    assert!(facing.terminate().await.success());
    let file = Connection::open(folder.path().join("shop.db")).unwrap();
    let version: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    for (other, remedy) in [
        (version - 1, "start a service of this version on it first, which migrates it for good"),
        (version + 1, "never migrated back: use that version or a later one, or restore a copy from before"),
    ] {
        file.pragma_update(None, "user_version", other).unwrap();
        let output = manage(folder.path(), &["verify"]).await;
        let errors = text(&output.stderr);
        assert!(output.status.code() == Some(3) && errors.contains(remedy), "{errors}");
    }
    file.pragma_update(None, "user_version", version).unwrap();
    // As with an older copy of the log.
    let older =
        "DELETE FROM records WHERE offset > 1; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'records';";
    file.execute_batch(older).unwrap();
    drop(file);
    let printed = text(&manage(folder.path(), &["verify"]).await.stdout);
    assert!(printed.contains("\nstored but never written to this log 2: it is older,"), "{printed}");
}

//! `management erase user` and the retention of purchases.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use shop_client::NewPurchase;

use crate::kafka;
use crate::kills::{Random, seed};
use crate::process::{
    ALL_ROLES, Binary, Process, borrow_settings, buy, get, must_buy, open_file, post, soon, stored,
    until, until_stored,
};
use crate::servers::Servers;
use crate::verify::{append, dead_lettered, manage, printed, text};

async fn erase(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let settings = [
        ALL_ROLES,
        ("SHOP_DATA_DIR", folder.to_str().unwrap()),
        ("LOG_LEVEL", "warn"),
    ];
    printed(
        &Binary::Management
            .run(&[&["erase", "user"], words].concat(), &settings)
            .await,
    )
}

/// The files of `folder` that contain `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let has = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    entries
        .filter(has)
        .map(|path| path.display().to_string())
        .collect()
}

const OF_ADA: &str = r#"{"username":"Ada Lovelace","userid":"1","price":5}"#;
const OF_EVA: &str = r#"{"username":"eva","userid":"2","price":7}"#;

/// Registers the users of the purchases.
async fn register_both(facing: &Process) {
    for user in [
        r#"{"email":"ada@example.com","name":"Ada Lovelace"}"#,
        r#"{"email":"eva@example.com","name":"eva"}"#,
    ] {
        assert_eq!(post(&facing.path("/users"), user).await.0, 201);
    }
}

#[tokio::test]
async fn an_erased_user_is_in_no_file_and_not_restored() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[ALL_ROLES]).await;
    let folder = folder.path();
    register_both(&facing).await;
    for body in [OF_ADA, OF_ADA, OF_EVA, OF_ADA] {
        must_buy(&facing, body).await;
    }
    append(
        folder,
        r#"{"username":"Ada Lovelace","userid":"1","price":"much"}"#,
    )
    .await;
    until("store them", async || {
        stored(&facing, "1").await == 3 && stored(&facing, "2").await == 1
    })
    .await;
    until("dead-letter it", async || dead_lettered(&facing).await == 1).await;
    until("publish the events", async || {
        files_with(folder, "ada@example.com")
            .iter()
            .any(|path| path.contains("log-user_created"))
    })
    .await;

    let (code, printed) = erase(folder, &["1"]).await;
    assert!(
        code == Some(2) && printed.contains("--confirm is missing"),
        "{printed}"
    );
    let counts = "purchases 3, users 1, records of the log 5, dead letters 1";
    assert_eq!(
        erase(folder, &["1", "--dry-run"]).await,
        (Some(0), format!("{counts}: would be erased\n"))
    );
    assert_eq!(stored(&facing, "1").await, 3);
    assert_eq!(
        erase(folder, &["1", "--confirm"]).await,
        (Some(0), format!("{counts}: erased\n"))
    );
    assert_eq!(
        (stored(&facing, "1").await, stored(&facing, "2").await),
        (0, 1)
    );
    assert_eq!(get(&facing.path("/users/1")).await.0, 404);
    assert_eq!(
        get(&facing.path("/users/2")).await.1["email"],
        "eva@example.com"
    );
    let (code, printed) = erase(folder, &["1", "--confirm", "--json"]).await;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let nothing = json!({
        "user": "1", "dry_run": false, "purchases": 0, "users": 0, "records": 0, "dead_letters": 0, "kept": []
    });
    assert_eq!((code, printed), (Some(0), nothing));
    let output = manage(folder, &["verify"]).await;
    let printed = text(&output.stdout);
    assert!(
        output.status.success() && printed.contains("erased 4, older than the retention 0\n"),
        "{printed}"
    );
    // Erased users can register again.
    assert_eq!(
        post(
            &facing.path("/users"),
            r#"{"email":"third@example.com","name":"x"}"#
        )
        .await
        .0,
        201
    );
    assert_eq!(get(&facing.path("/users/3")).await.0, 200);
    facing.stop().await;
    assert_eq!(files_with(folder, "ada@example.com"), [] as [String; 0]);
    assert_eq!(files_with(folder, "Ada Lovelace"), [] as [String; 0]);

    // The whole log is consumed again.
    let output = manage(
        folder,
        &["groups", "reset", "purchase-group", "--to-beginning"],
    )
    .await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    must_buy(&facing, OF_EVA).await;
    until("consume it", async || facing.ingest().await["lag"] == 0).await;
    assert_eq!(
        (stored(&facing, "1").await, stored(&facing, "2").await),
        (0, 2)
    );
    assert_eq!(dead_lettered(&facing).await, 0);
    must_buy(&facing, OF_ADA).await;
    until_stored(&facing, "1", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_an_erased_user_on_kafka_are_reported_and_not_stored_again() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let (management, facing) = kafka::start_both(&servers).await;
    until("accept a purchase", async || {
        buy(&facing, OF_EVA).await.0 == 201
    })
    .await;
    for _ in 0..3 {
        must_buy(&facing, OF_ADA).await;
    }
    // Of two partitions.
    until("store them", async || {
        (
            stored(&management, "1").await,
            stored(&management, "2").await,
        ) >= (3, 1)
    })
    .await;
    let settings = kafka::settings(&servers);
    let settings = borrow_settings(&settings);
    let erased = Binary::Management
        .run(&["erase", "user", "1", "--confirm", "--json"], &settings)
        .await;
    let printed: Value =
        serde_json::from_slice(&erased.stdout).unwrap_or_else(|_| panic!("{erased:?}"));
    assert_eq!(
        (printed["purchases"].as_u64(), printed["records"].as_u64()),
        (Some(3), Some(0)),
        "{printed}"
    );
    assert_eq!(printed["kept"][0]["records"], 3, "{printed}");
    assert!(
        printed["kept"][0]["until"].is_string(),
        "the default retention is a week: {printed}"
    );
    management.stop().await;
    let again = kafka::start(
        Binary::Management,
        &servers,
        &[("KAFKA_GROUP_ID", &servers.name("again"))],
    )
    .await;
    until("consume all of them", async || {
        let ingest = again.ingest().await;
        ingest["lag"] == 0 && ingest["duplicates"].as_u64() >= Some(4)
    })
    .await;
    assert_eq!(
        (stored(&again, "1").await, dead_lettered(&again).await),
        (0, 0)
    );
    let verified = Binary::Management.run(&["verify"], &settings).await;
    assert!(verified.status.success(), "{}", text(&verified.stdout));
    assert!(
        text(&verified.stdout).contains("erased 3, older"),
        "{}",
        text(&verified.stdout)
    );
    again.stop().await;
    facing.kill().await;
}

/// Buys 300 times as Eva, and ten times as often as Ada; again what a busy service has not accepted in time.
async fn buy_many(facing: &Process) {
    let client = &facing.client();
    let buys = (0..3_300).map(|number| async move {
        let (user, name) = if number % 11 == 0 {
            ("2", "eva")
        } else {
            ("1", "Ada Lovelace")
        };
        let purchase = NewPurchase::for_user(user)
            .with_user_name(name)
            .with_price("5")
            .unwrap();
        let purchase = purchase.with_key(format!("order-{number}")).unwrap();
        until("accept it", async || {
            client.buy(purchase.clone()).await.is_ok()
        })
        .await;
    });
    stream::iter(buys)
        .buffer_unordered(64)
        .collect::<()>()
        .await;
}

/// Erases Ada, and kills the command repeatedly, later each time, until an erasure completes.
async fn erase_despite_kills(settings: &[(&str, &str)]) {
    let left = async || {
        let counted = Binary::Management
            .run(&["erase", "user", "1", "--dry-run", "--json"], settings)
            .await;
        let printed: Value =
            serde_json::from_slice(&counted.stdout).unwrap_or_else(|_| panic!("{counted:?}"));
        ["purchases", "records"].map(|name| printed[name].as_u64().unwrap())
    };
    let seed = seed();
    println!("SHOP_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let mut halfway = 0;
    let begun = Instant::now();
    let all = left().await;
    // An erasure takes slightly longer than a dry run.
    let step = begun.elapsed() / 30;
    for kills in 0.. {
        let mut command = Binary::Management.command(settings);
        command
            .args(["erase", "user", "1", "--confirm"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let mut erasure = command.spawn().unwrap();
        let time = step * kills + Duration::from_millis(random.below(10));
        if let Ok(end) = tokio::time::timeout(time, erasure.wait()).await {
            assert!(end.unwrap().success());
            return println!("{kills} kills, {halfway} of them halfway");
        }
        soon("kill", erasure.kill()).await.unwrap();
        halfway += u64::from(![all, [0, 0]].contains(&left().await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_erasures_are_completed_by_the_next_one() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[ALL_ROLES]).await;
    let folder = folder.path();
    register_both(&facing).await;
    buy_many(&facing).await;
    for price in ["much", "more"] {
        append(
            folder,
            &format!(r#"{{"username":"Ada Lovelace","userid":"1","price":"{price}"}}"#),
        )
        .await;
    }
    append(folder, r#"{"username":"eva","userid":"2","price":"much"}"#).await;
    until("store them", async || {
        stored(&facing, "1").await == 3_000 && stored(&facing, "2").await == 300
    })
    .await;
    until("dead-letter them", async || {
        dead_lettered(&facing).await == 3
    })
    .await;
    let settings = [
        ALL_ROLES,
        ("SHOP_DATA_DIR", folder.to_str().unwrap()),
        ("LOG_LEVEL", "warn"),
    ];
    erase_despite_kills(&settings).await;
    assert_eq!(
        (stored(&facing, "1").await, stored(&facing, "2").await),
        (0, 300)
    );
    assert_eq!(get(&facing.path("/users/1")).await.0, 404);
    assert_eq!(
        get(&facing.path("/users/2")).await.1["email"],
        "eva@example.com"
    );
    let output = manage(folder, &["verify"]).await;
    let printed = text(&output.stdout);
    assert!(
        output.status.success() && printed.contains("missing 0, twice 0, dead-lettered 1\n"),
        "{printed}"
    );
    // Unused parts of pages may contain copies of rows that SQLite has moved.
    let (code, printed) = erase(folder, &["1", "--confirm", "--vacuum"]).await;
    assert_eq!(code, Some(0), "{printed}");
    must_buy(&facing, OF_EVA).await;
    until_stored(&facing, "2", 301).await;
    facing.stop().await;
    for of_ada in ["ada@example.com", "Ada Lovelace"] {
        assert_eq!(files_with(folder, of_ada), [] as [String; 0]);
    }
}

#[tokio::test]
async fn purchases_older_than_the_retention_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let keep = [("SHOP_PURCHASE_RETENTION", "1d")];
    // The first round finds nothing to delete, and trusts the clock. A new log has already stored the time.
    let facing = Process::start(Binary::Facing, folder, &keep).await;
    let store = open_file(folder);
    until("store the time", async || {
        store
            .query_row("SELECT count(*) FROM clock", [], |row| row.get::<_, i64>(0))
            .is_ok_and(|rows| rows == 2)
    })
    .await;
    drop(store);
    let old = r#"{"username":"ada","userid":"1","price":5,"timestamp":"2026-01-01T00:00:00Z"}"#;
    assert_eq!(buy(&facing, old).await.0, 400, "older than the retention");
    facing.stop().await;
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    for body in [old, OF_ADA, old] {
        must_buy(&facing, body).await;
    }
    assert_eq!(stored(&facing, "1").await, 3);
    facing.stop().await;
    // The first round begins with the service.
    let facing = Process::start(Binary::Facing, folder, &keep).await;
    until("delete the old ones", async || {
        stored(&facing, "1").await == 1
    })
    .await;
    let metrics = facing.metrics().await;
    let count = metrics
        .lines()
        .find(|line| line.starts_with("shop_store_expired_purchases_total "));
    assert!(count.is_some(), "{metrics}");
    let data = ("SHOP_DATA_DIR", folder.to_str().unwrap());
    let output = Binary::Management
        .run(&["verify", "--wait", "0"], &[data, keep[0]])
        .await;
    let printed = text(&output.stdout);
    assert!(
        output.status.success() && printed.contains("erased 0, older than the retention 2\n"),
        "{printed}"
    );
}

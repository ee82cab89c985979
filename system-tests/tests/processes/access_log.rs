//! The access log of a process, and the audit log of commands.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::process::{Binary, Process, get, must_buy, plain, soon, until};
use crate::verify::{append, dead_lettered, text};

#[tokio::test]
async fn access_log_is_always_json() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("SHOP_ACCESS_LOG", "on"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("LOG_FORMAT", "text"),
        ("LOG_LEVEL", "error,shop_bins=info"),
        ("PORT", "0"),
    ];
    let mut facing = Binary::Facing
        .command(&settings)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(facing.stderr.take().unwrap()).lines();
    let mut line_with = async |text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line = soon("log", lines.next_line()).await.unwrap().unwrap();
        }
        line
    };
    let line = line_with("listens on ").await;
    let address = line
        .split_once("listens on ")
        .unwrap()
        .1
        .split_whitespace()
        .next()
        .unwrap();
    assert_eq!(
        plain()
            .get(format!("{address}/livez"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let line: Value = serde_json::from_str(&line_with(r#""target":"access""#).await).unwrap();
    for (field, value) in [
        ("client.address", json!("127.0.0.1")),
        ("http.method", json!("GET")),
        ("http.route", json!("/livez")),
        ("http.status", json!(200)),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
}

/// The lines of the audit log in what a command has printed.
fn audited(output: &[u8]) -> Vec<Value> {
    let lines = text(output);
    let lines = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["target"] == "audit")
        .collect()
}

#[tokio::test]
async fn commands_that_change_something_are_audited_whatever_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let keys = folder.join("keys");
    std::fs::write(&keys, format!("till {} operate\n", "0".repeat(64))).unwrap();
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    must_buy(&facing, r#"{"username":"ada","userid":"u1","price":1}"#).await;
    for poison in ["1", "2"] {
        append(folder, poison).await;
    }
    until("dead-letter them", async || {
        dead_lettered(&facing).await == 2
    })
    .await;
    let listed = get(&facing.path("/v1/purchases?userid=u1")).await.1;
    let bought = listed["items"][0]["id"].as_str().unwrap();
    facing.stop().await;
    append(folder, "3").await;
    for setting in [
        ("SHOP_API_KEYS_FILE", keys.to_str().unwrap()),
        ("SHOP_ACCESS_LOG", "on"),
        ("SHOP_LOG_LEVEL", "warn"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(folder.join("shop.db"), copy.path().join("shop.db")).unwrap();
        let settings = [
            setting,
            ("SHOP_DATA_DIR", copy.path().to_str().unwrap()),
            ("LOG_FORMAT", "json"),
        ];
        for (words, expected) in [
            (
                &["dlq", "drop", "purchases-0-2"][..],
                json!({"action": "discard", "resolved": 1}),
            ),
            (
                &["dlq", "replay", "purchases-0-3", "--dry-run"],
                Value::Null,
            ),
            (
                &["dlq", "replay", "--all"],
                json!({"action": "replay", "positions": "purchases-0-3"}),
            ),
            (
                &["dlq", "park", "purchases-0-4", "--note", "3?"],
                json!({"action": "park", "reason": "3?"}),
            ),
            (
                &["groups", "reset", "purchase-group", "--to-beginning"],
                json!({"action": "reset_group", "group": "purchase-group", "next_offset": 1}),
            ),
            (
                &["groups", "forget", "purchase-group"],
                json!({"action": "forget_group"}),
            ),
            (
                &["refund", bought],
                json!({"action": "refund", "user.id": "u1", "replayed": false}),
            ),
            (&["erase", "user", "u1", "--dry-run"], Value::Null),
            (
                &["erase", "user", "u1", "--confirm"],
                json!({"action": "erase_user", "user.id": "u1", "purchases": 2, "complete": true}),
            ),
        ] {
            let output = Binary::Management.run(words, &settings).await;
            let printed = text(&output.stderr);
            assert!(output.status.success(), "{words:?} {setting:?}: {printed}");
            let lines = audited(&output.stderr);
            let count = usize::from(!expected.is_null());
            assert_eq!(lines.len(), count, "{words:?} {setting:?}: {printed}");
            for (member, value) in expected.as_object().into_iter().flatten() {
                assert_eq!(lines[0][member], *value, "{words:?} {setting:?}: {printed}");
            }
        }
    }
}

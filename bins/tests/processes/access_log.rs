//! The access log of a process.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::process::{Binary, plain, soon};

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
    let mut facing = Binary::Facing.command(&settings).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(facing.stderr.take().unwrap()).lines();
    let mut line_with = async |text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line = soon("log", lines.next_line()).await.unwrap().unwrap();
        }
        line
    };
    let line = line_with("listens on ").await;
    let address = line.split_once("listens on ").unwrap().1.split_whitespace().next().unwrap();
    assert_eq!(plain().get(format!("{address}/livez")).send().await.unwrap().status(), 200);
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

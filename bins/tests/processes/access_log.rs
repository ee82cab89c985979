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

#[tokio::test]
async fn a_reader_that_stops_stops_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("SHOP_ACCESS_LOG", "on"),
        ("SHOP_AUTH", "off"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", "0"),
    ];
    let mut facing = Binary::Facing.command(&settings).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(facing.stderr.take().unwrap()).lines();
    let address = loop {
        let line = soon("log", lines.next_line()).await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        if let Some(address) = line["http.address"].as_str() {
            break format!("http://{address}");
        }
    };
    // Nothing is read from here on: a pipe has room for the lines of about 120 purchases.
    let buy = || {
        plain().post(format!("{address}/buy")).body(r#"{"username":"ada","userid":"u1","price":1}"#).send()
    };
    for _ in 0..400 {
        assert_eq!(soon("buy", buy()).await.unwrap().status(), 201);
    }
    let metrics = plain().get(format!("{address}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nshop_log_lines_dropped_total 0\n"), "they wait");
    facing.start_kill().unwrap();
    soon("end", facing.wait()).await.unwrap();
}

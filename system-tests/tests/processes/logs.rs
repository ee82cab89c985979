//! The log of a process: in a file, and one line per purchase in the dialect of purchase-tracking.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tokio::process::Child;

use crate::process::{Binary, plain, until};

const BUY: &str = r#"{"username":"john","userid":"user123","price":29.99}"#;

/// A facing that logs to `file`.
struct Logged<'a> {
    _child: Child,
    file: &'a Path,
    url: String,
}

fn lines_of(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

impl<'a> Logged<'a> {
    async fn start(folder: &Path, file: &'a Path, dialect: &str) -> Self {
        let data = folder.to_str().unwrap();
        let log = file.to_str().unwrap();
        let settings = [
            ("SHOP_DATA_DIR", data),
            ("SHOP_LOG_FILE", log),
            ("SHOP_DIALECT", dialect),
            ("SHOP_ACCESS_LOG", "on"),
            ("PORT", "0"),
        ];
        let listening = |lines: Vec<Value>| -> Vec<_> {
            lines
                .iter()
                .filter_map(|line| line["http.address"].as_str().map(str::to_owned))
                .collect()
        };
        let before = listening(lines_of(file)).len();
        let child = Binary::Facing.command(&settings).spawn().unwrap();
        until("listen", async || listening(lines_of(file)).len() > before).await;
        let address = listening(lines_of(file)).pop().unwrap();
        Self {
            _child: child,
            file,
            url: format!("http://{address}"),
        }
    }

    fn lines(&self) -> Vec<Value> {
        lines_of(self.file)
    }

    /// Waits for a line.
    async fn line(&self, is_match: impl Fn(&Value) -> bool + Sync) {
        until("log", async || self.lines().iter().any(&is_match)).await;
    }

    async fn buy(&self) -> String {
        let request = plain()
            .post(format!("{}/buy", self.url))
            .header("content-type", "application/json");
        let response = request.body(BUY).send().await.unwrap();
        assert_eq!(response.status(), 201);
        response.headers()["x-purchase-id"]
            .to_str()
            .unwrap()
            .to_owned()
    }
}

#[tokio::test]
async fn purchase_tracking_logs_a_published_and_a_received_purchase() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("facing.log");
    let facing = Logged::start(folder.path(), &file, "purchase-tracking").await;
    let id = facing.buy().await;
    for message in ["Published purchase", "Received purchase"] {
        let is_match = |line: &Value| {
            line["message"] == message && line["purchase.id"] == *id && line["user.id"] == "user123"
        };
        facing.line(is_match).await;
        let lines = facing.lines();
        assert_eq!(
            lines.iter().filter(|line| is_match(line)).count(),
            1,
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn the_first_line_says_where_the_data_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("facing.log");
    let data = folder.path().join("data");
    let settings = [
        ("SHOP_DATA_DIR", data.to_str().unwrap()),
        ("SHOP_LOG_FILE", file.to_str().unwrap()),
        ("POSTGRES_URL", "postgresql://u:hunter2@127.0.0.1:1/db?x=y"),
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
        ("PORT", "0"),
    ];
    let _child = Binary::Management.command(&settings).spawn().unwrap();
    until("log", async || lines_of(&file).len() > 1).await;
    let lines = lines_of(&file);
    let log = format!("embedded, {}", data.join("shop.db").display());
    for (field, expected) in [
        ("log", &*log),
        ("store", "postgresql://127.0.0.1:1/db"),
        ("folder", data.to_str().unwrap()),
        ("roles", "purchases"),
        ("topic", "purchases"),
        ("group", "purchase-group"),
        ("dialect", "default"),
    ] {
        assert_eq!(lines[0][field], expected, "{lines:#?}");
    }
    let warning = lines[1]["message"].as_str().unwrap();
    assert!(
        warning.starts_with("KAFKA_BOOTSTRAP_SERVERS is set, but empty")
            && lines[1]["level"] == "WARN",
        "{warning}"
    );
}

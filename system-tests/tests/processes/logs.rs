//! What a process logs: its settings, requests, and the lines of purchase-tracking.

use crate::prelude::*;

/// A process that logs to a file.
struct Logged {
    folder: TempDir,
    _child: Child,
}

impl Logged {
    fn start(binary: Binary, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = binary.command(settings);
        command
            .env("PORT", "0")
            .env("SHOP_DATA_DIR", folder.path().join("data"))
            .env("SHOP_LOG_FILE", folder.path().join("log"));
        let _child = command.spawn().unwrap();
        Self { folder, _child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The lines of JSON.
    fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(serde_json::from_str);
        lines.filter_map(Result::ok).collect()
    }

    /// Waits until the process listens, and returns its URL.
    async fn url(&self) -> String {
        until("listen", async || self.text().contains(" listens on ")).await;
        let text = self.text();
        let (_, url) = text.split_once(" listens on ").unwrap();
        url.split(['"', ' ', '\n']).next().unwrap().to_owned()
    }

    /// Waits for the line with this value of `field`.
    async fn line(&self, field: &str, value: &str) -> Value {
        let has_value = |line: &Value| line[field] == value;
        until("log", async || self.lines().iter().any(has_value)).await;
        self.lines().into_iter().find(has_value).unwrap()
    }
}

#[tokio::test]
async fn access_log_is_always_json() {
    let settings = [
        ("SHOP_ACCESS_LOG", "on"),
        ("LOG_FORMAT", "text"),
        ("LOG_LEVEL", "error,shop_bins=info"),
    ];
    let facing = Logged::start(Binary::Facing, &settings);
    let url = facing.url().await;
    assert_eq!(get(&format!("{url}/livez")).await.0, 200);
    let line = facing.line("target", "access").await;
    assert_eq!(line["client.address"], "127.0.0.1", "{line}");
    assert_eq!(line["http.route"], "/livez", "{line}");
    assert_eq!(line["http.status"], 200, "{line}");
}

#[tokio::test]
async fn purchase_tracking_logs_a_published_and_a_received_purchase() {
    let facing = Logged::start(Binary::Facing, &[("SHOP_DIALECT", "purchase-tracking")]);
    let url = facing.url().await;
    assert_eq!(post(&format!("{url}/buy"), ADA).await.0, 201);
    let published = facing.line("message", "Published purchase").await;
    let received = facing.line("message", "Received purchase").await;
    assert_eq!(published["user.id"], "u1", "{published}");
    assert_eq!(published["purchase.id"], received["purchase.id"]);
}

#[tokio::test]
async fn the_first_line_says_where_the_data_is() {
    let settings = [
        ("POSTGRES_URL", "postgresql://u:hunter2@127.0.0.1:1/db?x=y"),
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
    ];
    let management = Logged::start(Binary::Management, &settings);
    until("log", async || management.lines().len() > 1).await;
    let [first, warning] = &management.lines()[..2] else {
        unreachable!("two lines")
    };
    let data = management.path("data");
    let log = format!("embedded, {}", data.join("shop.db").display());
    for (field, expected) in [
        ("log", json!(log)),
        ("store", json!("postgresql://127.0.0.1:1/db")),
        ("folder", json!(data)),
        ("roles", json!("purchases")),
        ("topic", json!("purchases")),
        ("group", json!("purchase-group")),
        ("dialect", json!("default")),
    ] {
        assert_eq!(first[field], expected, "{first:#}");
    }
    let warns = warning["message"].as_str().unwrap();
    assert!(warns.starts_with("KAFKA_BOOTSTRAP_SERVERS is set, but empty"));
}

//! The metrics of real processes.

use serde_json::{Value, json};

use crate::process::{Binary, Process, buy, get, plain, stored, until};
use crate::verify::{append, manage};

/// The value of one series.
async fn value(process: &Process, series: &str) -> Option<f64> {
    let response = plain().get(process.path("/metrics")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map(str::to_owned);
    line.map(|value| value.parse().unwrap())
}

async fn all(process: &Process, expected: &[(&str, f64)]) {
    for (series, expected) in expected {
        assert_eq!(value(process, series).await, Some(*expected), "{series}");
    }
}

#[tokio::test]
async fn each_service_exposes_its_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let url = [("MANAGEMENT_URL", management.url.as_str())];
    let facing = Process::start(Binary::Facing, folder.path(), &url).await;
    for price in ["1", "2", "rubbish"] {
        buy(&facing, &format!(r#"{{"username":"ada","userid":"u1","price":"{price}"}}"#)).await;
    }
    until("store them", async || stored(&management, "u1").await == 2).await;
    let lag = r#"kafka_consumer_group_lag{topic="purchases",group="purchase-group",partition="0"}"#;
    until("commit", async || value(&management, lag).await == Some(0.0)).await;
    all(
        &facing,
        &[
            ("kafka_producer_messages_total", 2.0),
            (r#"http_requests_total{method="POST",route="/buy",status="201"}"#, 2.0),
            (r#"http_requests_total{method="POST",route="/buy",status="400"}"#, 1.0),
        ],
    )
    .await;
    assert_eq!(value(&facing, lag).await, None, "management reads the log");
    all(
        &management,
        &[
            (r#"kafka_messages_processed_total{status="success"}"#, 2.0),
            (r#"kafka_messages_processed_total{status="error"}"#, 0.0),
            (r#"shop_ingest_phase{phase="running"}"#, 1.0),
        ],
    )
    .await;
    assert!(value(&management, "shop_ingest_freshness_seconds_count").await.unwrap() >= 1.0);
    for process in [&facing, &management] {
        assert!(value(process, "process_resident_memory_bytes").await.unwrap() > 1e6);
        assert!(value(process, "process_open_fds").await.unwrap() > 3.0);
        let text = plain().get(process.path("/metrics")).send().await.unwrap().text().await.unwrap();
        let build = concat!("\napp_info{version=\"", env!("CARGO_PKG_VERSION"), "\",commit=\"");
        assert!(text.contains(build) && !text.contains("commit=\"\""), "{text}");
    }
}

#[tokio::test]
async fn of_the_processes_on_a_folder_one_runs_ingest() {
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let count = async |phase: &str| {
        let series = format!("shop_ingest_phase{{phase=\"{phase}\"}}");
        value(&facing, &series).await.unwrap() + value(&management, &series).await.unwrap()
    };
    until("have one active and one waiting ingest", async || {
        count("running").await == 1.0 && count("standby").await == 1.0
    })
    .await;
    let mut lags = Vec::new();
    for process in [&facing, &management] {
        let health = get(&process.path("/health")).await.1;
        assert_eq!(health["status"], "healthy");
        lags.extend(health["ingest"]["lag"].as_u64());
    }
    assert_eq!(lags, [0], "only the active one knows the lag");
}

/// The pending dead letters, by the metrics and by the health response.
async fn waiting(process: &Process, reason: &str) -> (Option<f64>, Value) {
    let series = format!(r#"shop_dead_letters_waiting{{topic="purchases",reason="{reason}"}}"#);
    let health = get(&process.path("/health")).await.1;
    (value(process, &series).await, health["ingest"]["dead_letters_waiting"].clone())
}

#[tokio::test]
async fn pending_dead_letter_is_counted_until_resolved_across_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    until("count none", async || waiting(&facing, "undecodable").await == (Some(0.0), json!(0))).await;
    append(folder, "poison").await;
    until("count it", async || waiting(&facing, "undecodable").await == (Some(1.0), json!(1))).await;
    assert!(facing.terminate().await.success());

    let facing = Process::start(Binary::Facing, folder, &[]).await;
    until("count it again", async || waiting(&facing, "undecodable").await == (Some(1.0), json!(1))).await;
    assert_eq!(get(&facing.path("/health")).await.1["ingest"]["dead_lettered"], 0);
    assert!(manage(folder, &["dlq", "drop", "--all"]).await.status.success());
    // The next dead letter starts a new count.
    append(folder, r#"{"username":"ada","userid":"u1"}"#).await;
    until("count the next", async || {
        get(&facing.path("/health")).await.1["ingest"]["dead_lettered"] == 1
            && waiting(&facing, "undecodable").await == (Some(1.0), json!(1))
    })
    .await;
    assert!(manage(folder, &["dlq", "drop", "--all"]).await.status.success());
    assert!(facing.terminate().await.success());
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    until("count none", async || waiting(&facing, "undecodable").await == (Some(0.0), json!(0))).await;
}

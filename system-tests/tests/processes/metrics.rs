//! The metrics of real processes.

use crate::process::{ADA, Binary, Process, buy, plain, until, until_stored};

/// The value of one series.
async fn value(process: &Process, series: &str) -> Option<f64> {
    let response = plain().get(process.path("/metrics")).send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .map(str::to_owned);
    line.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn each_service_exposes_its_metrics() {
    let (folder, management) = Process::fresh(Binary::Management, &[]).await;
    let url = [("MANAGEMENT_URL", management.url.as_str())];
    let facing = Process::start(Binary::Facing, folder.path(), &url).await;
    for _ in 0..2 {
        buy(&facing, ADA).await;
    }
    until_stored(&management, "u1", 2).await;
    let lag = r#"kafka_consumer_group_lag{topic="purchases",group="purchase-group",partition="0"}"#;
    until("commit", async || {
        value(&management, lag).await == Some(0.0)
    })
    .await;
    let bought = value(
        &facing,
        r#"http_requests_total{method="POST",route="/buy",status="201"}"#,
    )
    .await;
    assert_eq!(bought, Some(2.0));
    assert_eq!(value(&facing, lag).await, None, "management reads the log");
    let stored = value(
        &management,
        r#"kafka_messages_processed_total{status="success"}"#,
    )
    .await;
    assert_eq!(stored, Some(2.0));
    for process in [&facing, &management] {
        assert!(
            value(process, "process_resident_memory_bytes")
                .await
                .unwrap()
                > 1e6
        );
        assert!(value(process, "process_open_fds").await.unwrap() > 3.0);
        let text = process.metrics().await;
        let build = concat!(
            "\napp_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\",commit=\""
        );
        assert!(
            text.contains(build) && !text.contains("commit=\"\""),
            "{text}"
        );
    }
}

//! Management in the folder of facing.

use crate::prelude::*;

#[tokio::test]
async fn a_management_without_ingest_only_reads() {
    let folder = tempfile::tempdir().unwrap();
    let off = [("SHOP_INGEST", "off")];
    let facing = Process::start(Binary::Facing, folder.path(), &off).await;
    let reader = Process::start(Binary::Management, folder.path(), &off).await;
    must_buy(&facing, ADA).await;
    assert!(reader.ingest().await.is_null());
    assert_eq!(stored(&reader, "u1").await, 0);

    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    until_stored(&reader, "u1", 1).await;
    // Ingest reports to the metrics of its own process.
    let series = r#"kafka_messages_processed_total{status="success"} 1"#;
    for (process, has_series) in [(&management, true), (&reader, false)] {
        let metrics = get(&process.path("/metrics")).await.1;
        let found = metrics.as_str().unwrap().contains(series);
        assert_eq!(found, has_series, "{metrics}");
    }
    for process in [facing, reader, management] {
        process.stop().await;
    }
}

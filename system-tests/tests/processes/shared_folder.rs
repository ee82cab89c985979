//! Several services on one folder.

use crate::prelude::*;
use crate::small_disk::SmallDisk;

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

/// Puts other bytes at a path, in the way of a program.
type Replacement = fn(&Path, &[u8]);

#[tokio::test]
async fn a_replaced_file_is_refused_and_seen_by_every_process() {
    // As `cp` does it, the inode stays; as `mv` does it, the processes keep a file that has no name.
    let replacements: [(&str, Replacement); 2] = [
        ("overwritten", |file, old| {
            std::fs::write(file, old).unwrap();
        }),
        ("deleted or replaced", |file, old| {
            let other = file.with_extension("old");
            std::fs::write(&other, old).unwrap();
            std::fs::rename(other, file).unwrap();
        }),
    ];
    for (reason, replace) in replacements {
        let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
        must_buy(&facing, ADA).await;
        facing.stop().await;
        let file = folder.path().join("shop.db");
        let old = std::fs::read(&file).unwrap();

        let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
        let management = Process::start(Binary::Management, folder.path(), &[]).await;
        must_buy(&facing, ADA).await;
        replace(&file, &old);
        let (status, answer) = post(&facing.path("/v1/purchases"), ADA).await;
        assert_eq!(
            (status, &answer["outcome"]),
            (503, &"not_sent".into()),
            "{answer}"
        );
        // The store of a management is unavailable, so that it is `unhealthy`.
        for (process, part, status) in [
            (&facing, "log", "degraded"),
            (&management, "store", "unhealthy"),
        ] {
            let health = get(&process.path("/health?details=true")).await.1;
            assert_eq!(health["status"], status, "{health}");
            let check = health["reasons"][part]["check"].as_str();
            assert!(check.unwrap_or_default().contains(reason), "{health}");
        }
        for process in [facing, management] {
            process.kill().await;
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_seen_before_anybody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path().to_owned(), c"size=16m") else {
        return;
    };
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let management = Process::start(Binary::Management, folder.path(), &[]).await;
    let services = [&facing, &management];
    let is_full = async |full: bool| {
        for service in services {
            let health = get(&service.path("/health?details=true")).await.1;
            let reason = &health["reasons"]["disk"]["space"];
            let is_seen = health["parts"]["disk"] == false && reason.is_string();
            if is_seen != full || (health["status"] == "healthy") == full {
                return false;
            }
        }
        true
    };
    must_buy(&facing, ADA).await;
    until("be healthy", async || is_full(false).await).await;

    disk.fill();
    until("notice it", async || is_full(true).await).await;
    let data = ("SHOP_DATA_DIR", folder.path().to_str().unwrap());
    let output = Binary::Management.run(&["--check-config"], &[data]).await;
    assert_ended(
        &output,
        1,
        "the disk of the data folder (SHOP_DATA_DIR) is full",
    );

    disk.free();
    until("notice the end", async || is_full(false).await).await;
    must_buy(&facing, ADA).await;
    for process in [facing, management] {
        process.stop().await;
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_degrades_both_services() {
    let folder = tempfile::tempdir().unwrap();
    let off = ("SHOP_INGEST", "off");
    let reader = Process::start(Binary::Management, folder.path(), &[off]).await;
    let management_url = reader.path("");
    let by_management = [("SHOP_MANAGEMENT_URL", &*management_url)];
    // One facing lists from the folder itself, and one from management.
    let alone = Process::start(Binary::Facing, folder.path(), &[off]).await;
    let facing = Process::start(Binary::Facing, folder.path(), &by_management).await;
    let services = [&reader, &alone, &facing];
    let has_status = async |status: &str| {
        for service in services {
            let health = get(&service.path("/health")).await.1;
            let reason = &health["reasons"]["reader"]["unread"];
            if health["status"] != status || reason.is_null() != (status == "healthy") {
                return false;
            }
        }
        true
    };
    until("be healthy without records", async || {
        has_status("healthy").await
    })
    .await;

    must_buy(&facing, ADA).await;
    until("notice it", async || has_status("degraded").await).await;

    let ingesting = Process::start(Binary::Management, folder.path(), &[]).await;
    until("see the reader", async || has_status("healthy").await).await;
    for process in [facing, alone, reader, ingesting] {
        process.stop().await;
    }
}

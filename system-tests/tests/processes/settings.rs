//! Settings of the binaries: errors, help, and the check.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::process::{ALL_ROLES, Binary, Process};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn check_config_prints_settings_and_checks_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let output = Binary::Facing
        .run(&["--check-config"], &[("SHOP_DATA_DIR", data)])
        .await;
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    for part in ["http://127.0.0.1:3000", "shop.db", "all is well"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let lines: Vec<_> = printed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        &*format!("SHOP_DATA_DIR {data} (environment)"),
        "SHOP_PURCHASES_TOPIC purchases (default)",
    ] {
        assert!(lines.iter().any(|known| known == line), "{line}: {printed}");
    }
    assert!(
        printed
            .matches("(not there yet: a service makes it)")
            .count()
            >= 2,
        "{printed}"
    );
    let output = Binary::Facing
        .run(&["--check-config", "--json"], &[("SHOP_DATA_DIR", data)])
        .await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["settings"]["shop_data_dir"]),
        (&true.into(), &data.into()),
        "{report}"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the check creates nothing"
    );
    // It does not disturb a running service, and reports unavailable services.
    let _facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let settings = [
        ("SHOP_DATA_DIR", data),
        ("MANAGEMENT_URL", "http://127.0.0.1:1"),
    ];
    let output = Binary::Facing.run(&["--check-config"], &settings).await;
    let printed = [text(&output.stdout), text(&output.stderr)].concat();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("not all is well")
            && printed.contains("listings: ")
            && printed.contains("cannot be reached"),
        "{printed}"
    );
}

#[tokio::test]
async fn check_config_names_each_cause_once_within_seconds() {
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let postgres = |address: &str| {
        (
            "POSTGRES_URL",
            format!("postgresql://u:hunter2@{address}/db"),
        )
    };
    for (brokers, (name, url)) in [
        ("127.0.0.1:1", postgres("127.0.0.1:1")),
        (&silent, postgres(&silent)),
    ] {
        let settings = [
            ALL_ROLES,
            ("SHOP_KAFKA_BOOTSTRAP_SERVERS", brokers),
            (name, &url),
        ];
        let start = Instant::now();
        let output = Binary::Management
            .run(&["--check-config", "--json"], &settings)
            .await;
        let took = start.elapsed();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let faults: Vec<_> = report["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            (output.status.code(), faults.len()),
            (Some(1), 2),
            "{faults:#?}"
        );
        assert!(
            faults[0].starts_with("\"log, events of users, events of orders: "),
            "{faults:#?}"
        );
        assert!(
            faults[1].starts_with("\"store, users, orders: "),
            "{faults:#?}"
        );
        assert!(took < Duration::from_secs(8), "{took:?}: {faults:#?}");
        assert!(!text(&output.stdout).contains("hunter2"));
    }
}

#[tokio::test]
async fn check_config_names_the_origins_of_settings_and_why_kafka_refuses_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.toml");
    std::fs::write(
        &file,
        "data_dir = '/dev/null/shop'\n[purchases]\ntopic = 'sold'",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let output = Binary::Facing
        .run(&["--check-config", "--json", "--config", file], &[])
        .await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, value, origin) in [
        ("shop_config", file, "flag"),
        ("shop_purchases_topic", "sold", "file"),
    ] {
        let found = (&report["settings"][name], &report["origins"][name]);
        assert_eq!(found, (&value.into(), &origin.into()), "{name}");
    }
    let why = "there is a file where a folder is needed: /dev/null";
    let expected = format!("log, store: the data folder (SHOP_DATA_DIR) cannot be used: {why}");
    assert_eq!(report["faults"], serde_json::json!([expected]));

    let settings = [
        ("KAFKA_BROKERS", "127.0.0.1:1"),
        ("MANAGEMENT_URL", "http://127.0.0.1:1"),
        ("KAFKA_PROPERTY_ACKS", "1"),
        ("KAFKA_PROPERTY_SSL_KEY_PASSWORD", "hunter2"),
    ];
    for words in [&["--check-config"][..], &[]] {
        let output = Binary::Facing.run(words, &settings).await;
        let printed = [text(&output.stdout), text(&output.stderr)].concat();
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(
            printed.contains("acks (an acknowledged record could be lost")
                && !printed.contains("hunter2"),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn healthcheck_fails_when_the_service_does_not_listen() {
    let (_folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let port = facing.url.rsplit(':').next().unwrap().to_owned();
    // As in an image, in which management might run: facing itself would need the URL of management.
    let settings = [
        ("HOST", "0.0.0.0"),
        ("PORT", port.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:1"),
    ];
    let output = Binary::Facing.run(&["--healthcheck"], &settings).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    facing.stop().await;
    let output = Binary::Facing.run(&["--healthcheck"], &settings).await;
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("is not ready") && printed.contains(&port),
        "{printed}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_reported() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let port = facing.url.rsplit(':').next().unwrap();
    let settings = [
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", port),
    ];
    let output = Binary::Management.run(&[], &settings).await;
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains(&format!("PORT {port}"))
            && printed.contains("another program listens there"),
        "{printed}"
    );
}

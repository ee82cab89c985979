//! Settings of the binaries: errors, help, and the check.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::process::{ALL_ROLES, Binary, Process};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn wrong_settings_are_reported_in_one_message() {
    for binary in [Binary::Facing, Binary::Management] {
        let settings = [
            ("PORT", "http"),
            ("KAFKA_BROKER", "a:1"),
            ("KAFKA_BROKERS", "b:1"),
            ("SHOP_DIALECT", "klingon"),
            ("DATABASE_URL", "mysql://u:hunter2@db/x"),
        ];
        let start = Instant::now();
        let output = binary.run(&[], &settings).await;
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        for name in ["PORT", "KAFKA_BROKER and KAFKA_BROKERS", "SHOP_DIALECT", "DATABASE_URL"] {
            assert!(printed.contains(name), "{name}: {printed}");
        }
        assert!(!printed.contains("hunter2"), "{printed}");
        println!("{binary:?} reported its faults after {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn help_lists_every_setting() {
    let output = Binary::Facing.run(&["--help"], &[]).await;
    let printed = text(&output.stdout);
    assert!(output.status.success());
    for name in [
        "--port",
        "PORT",
        "APP_PORT",
        "SHOP_DATA_DIR",
        "KAFKA_CONSUMER_GROUP",
        "MONGODB_URI",
        "CM_API_HOSTNAME",
        "--check-config",
    ] {
        assert!(printed.contains(name), "{name}: {printed}");
    }
    let version = Binary::Management.run(&["--version"], &[("PORT", "http")]).await;
    assert!(text(&version.stdout).starts_with(concat!("management ", env!("CARGO_PKG_VERSION"), " (")));
    let completions = Binary::Facing.run(&["--completions", "bash"], &[]).await;
    assert!(completions.status.success() && text(&completions.stdout).contains("--purchases-topic"));
}

#[tokio::test]
async fn check_config_prints_settings_and_checks_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let output = Binary::Facing.run(&["--check-config"], &[("SHOP_DATA_DIR", data)]).await;
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{printed}{}", text(&output.stderr));
    for part in ["http://127.0.0.1:3000", "shop.db", "all is well"] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let lines: Vec<_> =
        printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [&*format!("SHOP_DATA_DIR {data} (environment)"), "SHOP_PURCHASES_TOPIC purchases (default)"]
    {
        assert!(lines.iter().any(|known| known == line), "{line}: {printed}");
    }
    assert!(printed.matches("(not there yet: a service makes it)").count() >= 2, "{printed}");
    let output = Binary::Facing.run(&["--check-config", "--json"], &[("SHOP_DATA_DIR", data)]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["settings"]["shop_data_dir"]),
        (&true.into(), &data.into()),
        "{report}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the check creates nothing");
    // It does not disturb a running service, and reports unavailable services.
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let settings = [("SHOP_DATA_DIR", data), ("MANAGEMENT_URL", "http://127.0.0.1:1")];
    let output = Binary::Facing.run(&["--check-config"], &settings).await;
    let printed = [text(&output.stdout), text(&output.stderr)].concat();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(
        printed.contains("not all is well")
            && printed.contains("listings: ")
            && printed.contains("cannot be reached"),
        "{printed}"
    );
    assert!(facing.terminate().await.success());
}

#[tokio::test]
async fn check_config_names_each_cause_once_within_seconds() {
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let postgres = |address: &str| ("POSTGRES_URL", format!("postgresql://u:hunter2@{address}/db"));
    for (brokers, (name, url)) in [("127.0.0.1:1", postgres("127.0.0.1:1")), (&silent, postgres(&silent))] {
        let settings = [ALL_ROLES, ("SHOP_KAFKA_BOOTSTRAP_SERVERS", brokers), (name, &url)];
        let start = Instant::now();
        let output = Binary::Management.run(&["--check-config", "--json"], &settings).await;
        let took = start.elapsed();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let faults: Vec<_> = report["faults"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!((output.status.code(), faults.len()), (Some(1), 2), "{faults:#?}");
        assert!(faults[0].starts_with("\"log, events of users, events of orders: "), "{faults:#?}");
        assert!(faults[1].starts_with("\"store, users, orders: "), "{faults:#?}");
        assert!(took < Duration::from_secs(4), "{took:?}: {faults:#?}");
        assert!(!text(&output.stdout).contains("hunter2"));
    }
}

#[tokio::test]
async fn check_config_has_the_settings_of_a_file_and_their_origins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.toml");
    std::fs::write(&file, "data_dir = '/dev/null/shop'\nlog_level = 'warn'\n[purchases]\ntopic = 'sold'")
        .unwrap();
    let file = file.to_str().unwrap();
    let settings = [("LOG_LEVEL", "error"), ("KAFKA_BROKERS", "")];
    let output = Binary::Facing.run(&["--check-config", "--json", "--config", file], &settings).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, value, origin) in [
        ("shop_config", file, "flag"),
        ("shop_purchases_topic", "sold", "file"),
        ("shop_log_level", "error", "environment"),
        ("shop_drain_timeout", "20s", "default"),
    ] {
        assert_eq!(
            (&report["settings"][name], &report["origins"][name]),
            (&value.into(), &origin.into()),
            "{name}"
        );
    }
    assert!(
        report["warnings"][0].as_str().unwrap().starts_with("KAFKA_BROKERS is set, but empty"),
        "{report}"
    );
    let why = "there is a file where a folder is needed: /dev/null";
    let expected = format!("log, store: the data folder (SHOP_DATA_DIR) cannot be used: {why}");
    assert_eq!(report["faults"], serde_json::json!([expected]));
    // A service does not start.
    let output = Binary::Facing.run(&["--config", "/nowhere/shop.toml"], &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nowhere/shop.toml (--config): cannot be read"));
}

#[tokio::test]
async fn check_config_prints_properties_of_kafka_and_why_one_is_refused() {
    let settings = |name| {
        [
            ("KAFKA_BROKERS", "127.0.0.1:1"),
            ("MANAGEMENT_URL", "http://127.0.0.1:1"),
            ("KAFKA_PROPERTY_SSL_KEY_PASSWORD", "hunter2"),
            (name, "eu-1a"),
        ]
    };
    for (name, said) in [
        (
            "KAFKA_PROPERTY_ACKS",
            "acks (an acknowledged record could be lost, or be written twice); ssl.key.password (it has no effect",
        ),
        (
            "KAFKA_PROPERTY_COMPRESSION_TYPE",
            "compression.type (use SHOP_KAFKA_COMPRESSION); ssl.key.password (it has no effect without TLS)",
        ),
        ("KAFKA_PROPERTY_CLIENT_RACK", "ssl.key.password (it has no effect without TLS)"),
        ("KAFKA_PROPERTY_CLIENT_ROCK", "ssl.key.password (it has no effect without TLS)"),
    ] {
        let output = Binary::Facing.run(&["--check-config"], &settings(name)).await;
        let (printed, faults) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(printed.contains(name) && printed.contains("eu-1a") && printed.contains("***"), "{printed}");
        assert!(
            faults.contains(said) && ![&printed, &faults].iter().any(|text| text.contains("hunter2")),
            "{faults}"
        );
    }
    // A service does not start.
    let unknown =
        [("KAFKA_BROKERS", "a:1"), ("MANAGEMENT_URL", "http://m:1"), ("KAFKA_PROPERTY_X", "hunter2")];
    let output = Binary::Facing.run(&[], &unknown).await;
    let faults = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{faults}");
    assert!(
        faults.contains("No such configuration property: \"x\"") && !faults.contains("hunter2"),
        "{faults}"
    );
}

#[tokio::test]
async fn healthcheck_fails_when_the_service_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let port = facing.url.rsplit(':').next().unwrap().to_owned();
    // As in an image, in which management might run: facing itself would need the URL of management.
    let settings = [("HOST", "0.0.0.0"), ("PORT", port.as_str()), ("KAFKA_BOOTSTRAP_SERVERS", "localhost:1")];
    let output = Binary::Facing.run(&["--healthcheck"], &settings).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(facing.terminate().await.success());
    let output = Binary::Facing.run(&["--healthcheck"], &settings).await;
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("is not ready") && printed.contains(&port), "{printed}");
}

#[tokio::test]
async fn a_port_in_use_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let port = facing.url.rsplit(':').next().unwrap();
    let settings = [("SHOP_DATA_DIR", folder.path().to_str().unwrap()), ("PORT", port)];
    let output = Binary::Management.run(&[], &settings).await;
    let printed = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains(&format!("PORT {port}")) && printed.contains("another program listens there"),
        "{printed}"
    );
}

//! Settings of the binaries: the check of all, the health check, and the address.

use crate::prelude::*;

#[tokio::test]
async fn check_config_names_settings_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let settings = [("SHOP_DATA_DIR", data)];
    let output = Binary::Facing.run(&["--check-config"], &settings).await;
    for part in [
        "SHOP_DATA_DIR",
        "(environment)",
        "(not there yet: a service makes it)",
        "all is well",
    ] {
        assert_ended(&output, 0, part);
    }
    let output = Binary::Facing
        .run(&["--check-config", "--json"], &settings)
        .await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!(report["settings"]["shop_data_dir"], data, "{report}");
    assert_eq!(
        report["origins"]["shop_data_dir"], "environment",
        "{report}"
    );
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0);

    // It does not disturb a running service.
    let _facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    let settings = [settings[0], ("MANAGEMENT_URL", "http://127.0.0.1:1")];
    let output = Binary::Facing.run(&["--check-config"], &settings).await;
    for part in ["not all is well", "listings: ", "cannot be reached"] {
        assert_ended(&output, 1, part);
    }
}

#[tokio::test]
async fn check_config_names_each_cause_once_within_seconds() {
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let check = async |address: &str| {
        let url = format!("postgresql://u:hunter2@{address}/db");
        let settings = [
            ALL_ROLES,
            ("SHOP_KAFKA_BOOTSTRAP_SERVERS", address),
            ("POSTGRES_URL", &url),
        ];
        let words = ["--check-config", "--json"];
        let output = Binary::Management.run(&words, &settings).await;
        assert_ended(&output, 1, "\"log, events of users, events of orders: ");
        assert_ended(&output, 1, "\"store, users, orders: ");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["faults"].as_array().unwrap().len(), 2, "{report}");
        assert!(!report.to_string().contains("hunter2"));
    };
    let checks = join_all(["127.0.0.1:1", &silent].map(check));
    within(Duration::from_secs(10), "end both checks", checks).await;
}

#[tokio::test]
async fn healthcheck_fails_when_the_service_does_not_listen() {
    let (_folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let port = facing.port().to_owned();
    // As in an image, in which management might run: facing itself would need the URL of management.
    let settings = [
        ("HOST", "0.0.0.0"),
        ("PORT", port.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:1"),
    ];
    let output = Binary::Facing.run(&["--healthcheck"], &settings).await;
    assert_ended(&output, 0, "");
    facing.stop().await;
    let output = Binary::Facing.run(&["--healthcheck"], &settings).await;
    assert_ended(&output, 1, "is not ready");
}

#[tokio::test]
async fn a_port_in_use_is_reported() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let settings = [
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", facing.port()),
    ];
    let output = Binary::Management.run(&[], &settings).await;
    assert_ended(&output, 1, "another program listens there");
    assert_ended(&output, 1, &format!("PORT {}", facing.port()));
}

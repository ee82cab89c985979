//! Settings of the binaries: the check of all, the health check, and the address.

use crate::prelude::*;

#[tokio::test]
async fn check_config_names_settings_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::on(folder.path(), &[]);
    terminal.run("facing --check-config").await;
    let settings = [("SHOP_DATA_DIR", folder.path().to_str().unwrap())];
    let words = ["--check-config", "--json"];
    let output = Binary::Facing.run(&words, &settings).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    let origin = &report["origins"]["shop_data_dir"];
    assert_eq!(origin, "environment", "{report}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // It does not disturb a running service.
    let _facing = Process::start(Binary::Facing, folder.path(), &[]).await;
    terminal
        .run("MANAGEMENT_URL=http://127.0.0.1:1 facing --check-config")
        .await;
    terminal.assert_shown("check-config");
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
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let port = facing.port().to_owned();
    // As in an image, in which management might run: facing itself would need the URL of management.
    let settings = [
        ("HOST", "0.0.0.0"),
        ("PORT", port.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:1"),
    ];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal.run("facing --healthcheck").await;
    facing.stop().await;
    terminal.run("facing --healthcheck").await;
    terminal.assert_shown("healthcheck");
}

#[tokio::test]
async fn a_service_says_where_its_data_is_and_which_port_is_in_use() {
    let (_folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        (
            "LOG_LEVEL",
            "off,shop_bins::telemetry=info,shop_bins::run=warn",
        ),
        ("PORT", facing.port()),
        (
            "POSTGRES_URL",
            "postgresql://u:hunter2@127.0.0.1:1/db?application_name=x",
        ),
        ("KAFKA_BOOTSTRAP_SERVERS", ""),
    ];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal.run("management").await;
    terminal.assert_shown("port-in-use");
}

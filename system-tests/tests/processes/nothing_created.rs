//! Misspelled names, missing folders and unavailable servers: commands fail, and create nothing.

use std::path::Path;
use std::process::{Output, Stdio};

use futures_util::future::join_all;
use rustix::process::Signal;
use shop_core::log::LogRecord;
use shop_core::{Clock as _, SystemClock};
use shop_kafka::KafkaLog;

use crate::kafka::{settings, start};
use crate::process::{ALL_ROLES, Binary, Process, borrow_settings, must_buy, send, soon, until};
use crate::servers::Servers;
use crate::verify::{append, manage, text};

/// Every command, with valid arguments.
const COMMANDS: [&[&str]; 11] = [
    &["verify", "--wait", "0"],
    &["doctor"],
    &["dlq", "ls"],
    &["dlq", "show"],
    &["dlq", "replay"],
    &["dlq", "drop", "--all"],
    &["dlq", "ls", "--topic", "user_created"],
    &["replay", "users", "--from-beginning"],
    &["erase", "user", "u1", "--confirm"],
    &["import", "-"],
    &["export"],
];

fn assert_code(output: &Output, code: i32, part: &str) {
    let printed = [text(&output.stdout), text(&output.stderr)].concat();
    assert_eq!(output.status.code(), Some(code), "{printed}");
    assert!(printed.contains(part), "{part}: {printed}");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn command_on_a_missing_folder_fails_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mistyped = folder.path().join("shop-dta");
    for words in COMMANDS {
        for data in [&mistyped, folder.path()] {
            let output = manage(data, words).await;
            assert_code(&output, 3, "there is nothing here");
            assert_eq!(text(&output.stdout), "", "{words:?}");
            assert!(is_empty(folder.path()), "{words:?}");
        }
    }
    // A log that no service has read is unchanged.
    append(folder.path(), "poison").await;
    std::fs::remove_file(folder.path().join("shop.lock")).unwrap();
    let output = manage(folder.path(), &["verify", "--wait", "0"]).await;
    assert_code(&output, 1, "missing 1");
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(names, ["shop.db"]);
}

#[tokio::test]
async fn wrong_settings_are_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    let data = folder.path().join("data");
    std::fs::write(&wrong, "nonsense").unwrap();
    let wrong = wrong.to_str().unwrap();
    let data = data.to_str().unwrap();
    let jwt = [
        ("SHOP_AUTH", "jwt"),
        ("SHOP_AUTH_ISSUER", "https://issuer.example"),
        ("SHOP_AUTH_AUDIENCE", "a"),
    ];
    for (name, others) in [
        ("SHOP_API_KEYS_FILE", &[][..]),
        ("SHOP_AUTH_JWKS_FILE", &jwt),
        ("SHOP_TLS_CERT_FILE", &[("SHOP_TLS_KEY_FILE", wrong)]),
        (
            "SHOP_SERVICE_CA_FILE",
            &[("SHOP_MANAGEMENT_URL", "https://127.0.0.1:1")],
        ),
        ("SHOP_HOST", &[("SHOP_HOST", "0.0.0.0")]),
        ("SHOP_LOG_FILE", &[("SHOP_LOG_FILE", "/nowhere/facing.log")]),
    ] {
        let settings = [
            &[(name, wrong), ("SHOP_DATA_DIR", data), ("SHOP_PORT", "0")],
            others,
        ]
        .concat();
        let output = Binary::Facing.run(&[], &settings).await;
        assert_code(&output, 1, name);
        assert!(!Path::new(data).exists(), "{name}");
    }
}

#[tokio::test]
async fn an_interrupted_migration_is_not_done() {
    // A server that accepts a connection, and never responds.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mongodb://{}", server.local_addr().unwrap());
    let mut migrate = Binary::Management.command(&[("SHOP_MONGODB_URI", &*uri)]);
    let migrate = migrate
        .arg("migrate")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _connection = soon("connect", server.accept()).await.unwrap();
    send(&migrate, Signal::TERM);
    let output = soon("end", migrate.wait_with_output()).await.unwrap();
    assert_code(&output, 3, "stopped before the end: run it again");
}

#[tokio::test]
async fn unavailable_servers_exit_with_3_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "poison").await;
    let data = ("SHOP_DATA_DIR", folder.path().to_str().unwrap());
    let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let mongodb = ("MONGODB_URI", "mongodb://127.0.0.1:1/");
    let all = [
        ALL_ROLES,
        data,
        kafka,
        mongodb,
        ("POSTGRES_URL", "postgresql://127.0.0.1:1/users_db"),
    ];
    for output in
        join_all(COMMANDS.map(async |words| Binary::Management.run(words, &all).await)).await
    {
        assert_code(&output, 3, "");
    }
    for words in [&["verify", "--wait", "0"][..], &["doctor"], &["migrate"]] {
        assert_code(
            &Binary::Management.run(words, &[data, mongodb]).await,
            3,
            "MongoDB cannot be reached",
        );
    }
    let status = Binary::Management.run(&["status"], &all).await;
    assert_code(&status, 3, "events of users");
    for binary in [Binary::Facing, Binary::Management] {
        let output = binary
            .run(&["--check-config"], &[data, kafka, mongodb])
            .await;
        assert_code(&output, 1, "not all is well");
        let printed = text(&output.stderr);
        assert!(
            printed.contains("log: ") && printed.contains("store: "),
            "every error at once: {printed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_create_nothing_on_servers() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let of_purchases = settings(&servers);
    let of_events = servers.settings_of_events();
    let run = async |words: &[&str]| {
        // A service without users and orders refuses their settings, a command does not.
        let of_events = if words[0].starts_with("--") {
            &[][..]
        } else {
            &of_events
        };
        let settings = [&of_purchases[..], of_events].concat();
        Binary::Management
            .run(words, &borrow_settings(&settings))
            .await
    };
    let output = run(&["--check-config"]).await;
    assert_code(
        &output,
        0,
        &format!("topic {} at", servers.name("purchases")),
    );
    assert_eq!(
        text(&output.stdout)
            .matches("(not there yet: a service makes it)")
            .count(),
        1
    );
    let users = servers.name("user_created");
    let named = |words: &[&'static str]| -> Vec<&str> {
        words
            .iter()
            .map(|word| {
                if *word == "user_created" {
                    &*users
                } else {
                    word
                }
            })
            .collect()
    };
    let outputs = join_all(COMMANDS.map(async |words| (words[0], run(&named(words)).await))).await;
    for (command, output) in outputs {
        if command == "replay" {
            assert_code(&output, 2, "set SHOP_POSTGRES_URL");
            continue;
        }
        // It opens the store before it reads the log.
        let missing = if ["verify", "doctor", "erase", "export"].contains(&command) {
            "does not exist"
        } else {
            "is missing, and is not created here"
        };
        assert_code(&output, 3, missing);
    }
    assert_code(&run(&["migrate"]).await, 3, "the collection does not exist");
    let [purchases, users, orders] =
        ["purchases", "user_created", "order_created"].map(|topic| servers.name(topic));
    for topic in [format!("{purchases}.dlq"), purchases, users, orders] {
        let mut options = servers.log("purchases");
        options.create_topics = false;
        options.topic.clone_from(&topic);
        let log = KafkaLog::open(options).await.unwrap();
        assert!(!log.exists().await.unwrap(), "{topic}");
    }
    let client = mongodb::Client::with_uri_str(servers.address("SHOP_TEST_MONGODB_URI"))
        .await
        .unwrap();
    let collections = client
        .database(&servers.name("shop"))
        .list_collection_names()
        .await
        .unwrap();
    assert_eq!(collections, [""; 0]);

    // Commands work on what a service has created.
    let _management = start(Binary::Management, &servers, &[]).await;
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    log.append(LogRecord::new(0, SystemClock.now(), Some("poison".into())))
        .await
        .unwrap();
    for words in [&["verify", "--wait", "0"][..], &["doctor"], &["dlq", "ls"]] {
        until("succeed", async || run(words).await.status.success()).await;
    }
    assert_code(&run(&["--check-config"]).await, 0, "all is well");
}

#[tokio::test]
async fn misspelled_names_are_rejected_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let misspelled = [
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("SHOP_DATADIR", "/x"),
        ("MONGO_URI", "mongodb://u:hunter2@mongo"),
        ("LOG_LEVELS", "warn"),
    ];
    for (binary, words, code) in [
        (Binary::Facing, &[][..], 1),
        (Binary::Management, &["verify"], 2),
    ] {
        let output = binary.run(words, &misspelled).await;
        for part in [
            "SHOP_DATADIR is not a setting: SHOP_DATA_DIR",
            "LOG_LEVELS is not a setting: LOG_LEVEL",
        ] {
            assert_code(&output, code, part);
        }
        assert!(!text(&output.stderr).contains("hunter2") && is_empty(folder.path()));
    }
    let settings = [misspelled[0], ("SHOP_REQUIRE_SERVERS", "on")];
    let output = Binary::Management.run(&[], &settings).await;
    for name in ["KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI"] {
        assert_code(
            &output,
            1,
            &format!("{name}: not set, but SHOP_REQUIRE_SERVERS is on"),
        );
    }
    assert!(is_empty(folder.path()));
}

/// Variables of a login shell.
const LOGIN_SHELL: [(&str, &str); 8] = [
    ("HOME", "/home/ada"),
    ("USER", "ada"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "en_GB.UTF-8"),
    ("TERM", "xterm-256color"),
    ("MAIL", "/var/mail/ada"),
    ("HOSTNAME", "laptop"),
    ("_", "/usr/bin/env"),
];

/// The variables that Kubernetes sets for a service with one port.
fn of_service(name: &str, port: &str) -> Vec<(String, String)> {
    let address = "10.96.0.17";
    let name = name.to_uppercase().replace('-', "_");
    let url = format!("tcp://{address}:{port}");
    [
        ("SERVICE_HOST".to_owned(), address),
        ("SERVICE_PORT".to_owned(), port),
        ("SERVICE_PORT_HTTP".to_owned(), port),
        ("PORT".to_owned(), &url),
        (format!("PORT_{port}_TCP"), &url),
        (format!("PORT_{port}_TCP_PROTO"), "tcp"),
        (format!("PORT_{port}_TCP_PORT"), port),
        (format!("PORT_{port}_TCP_ADDR"), address),
    ]
    .map(|(ending, value)| (format!("{name}_{ending}"), value.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn services_start_in_a_login_shell_and_in_a_pod() {
    let services = "kubernetes:443 kafka:9092 mongo:27017 mongodb:27017 database:5432 postgres:5432 \
        management:3001 customer-management:3001 cm-api:3001 app:80 log:80 shop:80 shop-facing:3000 \
        shop-management:3001 shop-kafka:9092";
    let services = services
        .split(' ')
        .map(|service| service.split_once(':').unwrap());
    let pod: Vec<_> = services
        .flat_map(|(name, port)| of_service(name, port))
        .collect();
    let pod: Vec<_> = pod
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    // Variables of compose and of the project's tests.
    let compose = [
        ("SHOP_IMAGE", "shop:dev"),
        ("SHOP_BIND", "0.0.0.0"),
        ("SHOP_TEST_REQUIRE", "kafka"),
    ];
    let shell = [&LOGIN_SHELL[..], &compose].concat();
    for environment in [shell, pod] {
        for binary in [Binary::Facing, Binary::Management] {
            let folder = tempfile::tempdir().unwrap();
            let service = Process::start(binary, folder.path(), &environment).await;
            if binary == Binary::Facing {
                must_buy(&service, r#"{"username":"ada","userid":"u1","price":1}"#).await;
            }
            service.stop().await;
        }
    }
}

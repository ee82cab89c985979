//! Missing folders, wrong settings and unavailable servers: commands fail, and create nothing.

use crate::kafka::{settings, start};
use crate::prelude::*;

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

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn command_on_a_missing_folder_fails_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mistyped = folder.path().join("shop-dta");
    for words in COMMANDS {
        for data in [&mistyped, folder.path()] {
            let output = manage(data, words).await;
            assert_ended(&output, 3, "there is nothing here");
            assert_eq!(names(folder.path()), [""; 0], "{words:?}");
        }
    }
    // A log that no service has read is unchanged.
    append(folder.path(), "poison").await;
    std::fs::remove_file(folder.path().join("shop.lock")).unwrap();
    let output = manage(folder.path(), COMMANDS[0]).await;
    assert_ended(&output, 1, "missing 1");
    assert_eq!(names(folder.path()), ["shop.db"]);
}

#[tokio::test]
async fn wrong_settings_are_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    let data = folder.path().join("data");
    std::fs::write(&wrong, "nonsense").unwrap();
    let wrong = wrong.to_str().unwrap();
    let jwt = [
        ("SHOP_AUTH", "jwt"),
        ("SHOP_AUTH_ISSUER", "https://issuer.example"),
        ("SHOP_AUTH_AUDIENCE", "a"),
    ];
    let url = ("SHOP_MANAGEMENT_URL", "https://127.0.0.1:1");
    for (name, value, others) in [
        ("SHOP_API_KEYS_FILE", wrong, &[][..]),
        ("SHOP_AUTH_JWKS_FILE", wrong, &jwt),
        ("SHOP_TLS_CERT_FILE", wrong, &[("SHOP_TLS_KEY_FILE", wrong)]),
        ("SHOP_SERVICE_CA_FILE", wrong, &[url]),
        ("SHOP_HOST", "0.0.0.0", &[]),
        ("SHOP_LOG_FILE", "/nowhere/facing.log", &[]),
        ("SHOP_DATADIR", wrong, &[]),
    ] {
        let data_dir = ("SHOP_DATA_DIR", data.to_str().unwrap());
        let settings = [&[(name, value), data_dir, ("SHOP_PORT", "0")], others].concat();
        let output = Binary::Facing.run(&[], &settings).await;
        assert_ended(&output, 1, name);
        assert!(!data.exists(), "{name}");
    }
}

#[tokio::test]
async fn an_interrupted_migration_is_not_done() {
    // A server that accepts a connection, and never responds.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("mongodb://{}", server.local_addr().unwrap());
    let mut migrate = Binary::Management.command(&[("SHOP_MONGODB_URI", &*uri)]);
    migrate.arg("migrate").stderr(Stdio::piped());
    let migrate = migrate.spawn().unwrap();
    let _connection = soon("connect", server.accept()).await.unwrap();
    send(&migrate, Signal::TERM);
    let output = soon("end", migrate.wait_with_output()).await.unwrap();
    assert_ended(&output, 3, "stopped before the end: run it again");
}

#[tokio::test]
async fn unavailable_servers_exit_with_3_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "poison").await;
    let data = ("SHOP_DATA_DIR", folder.path().to_str().unwrap());
    let kafka = ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let mongodb = ("MONGODB_URI", "mongodb://127.0.0.1:1/");
    let postgres = ("POSTGRES_URL", "postgresql://127.0.0.1:1/users_db");
    let all = [ALL_ROLES, data, kafka, mongodb, postgres];
    let of_store = [data, mongodb];
    let mut commands: Vec<(&[&str], &[_], &str)> = vec![
        (&["status"], &all, "events of users"),
        (COMMANDS[0], &of_store, "MongoDB cannot be reached"),
        (&["doctor"], &of_store, "MongoDB cannot be reached"),
        (&["migrate"], &of_store, "MongoDB cannot be reached"),
    ];
    commands.extend(COMMANDS.map(|words| (words, &all[..], "")));
    let outputs = commands.into_iter().map(async |(words, settings, part)| {
        let output = Binary::Management.run(words, settings).await;
        assert_ended(&output, 3, part);
    });
    join_all(outputs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_create_nothing_on_servers() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let of_purchases = settings(&servers);
    let of_events = servers.settings_of_events();
    let of_commands = [&of_purchases[..], &of_events].concat();
    let of_commands = borrow_settings(&of_commands);
    // A service without users and orders refuses their settings, a command does not.
    let check_config = async || {
        let settings = borrow_settings(&of_purchases);
        Binary::Management.run(&["--check-config"], &settings).await
    };
    assert_ended(
        &check_config().await,
        0,
        "(not there yet: a service makes it)",
    );
    let users = servers.name("user_created");
    let outputs = join_all(COMMANDS.map(async |words| {
        let words = words.iter().map(|word| match *word {
            "user_created" => &*users,
            word => word,
        });
        let words: Vec<_> = words.collect();
        (words[0], Binary::Management.run(&words, &of_commands).await)
    }));
    for (command, output) in outputs.await {
        match command {
            "replay" => assert_ended(&output, 2, "set SHOP_POSTGRES_URL"),
            // It opens the store before it reads the log.
            "verify" | "doctor" | "erase" | "export" => assert_ended(&output, 3, "does not exist"),
            _ => assert_ended(&output, 3, "is missing, and is not created here"),
        }
    }
    let output = Binary::Management.run(&["migrate"], &of_commands).await;
    assert_ended(&output, 3, "the collection does not exist");
    for topic in ["purchases", "user_created", "order_created"] {
        for suffix in ["", ".dlq"] {
            let mut options = servers.log(topic);
            options.create_topics = false;
            options.topic += suffix;
            let log = KafkaLog::open(options).await.unwrap();
            assert!(!log.exists().await.unwrap(), "{topic}{suffix}");
        }
    }
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let database = client.database(&servers.name("shop"));
    let collections = database.list_collection_names().await.unwrap();
    assert_eq!(collections, [""; 0]);

    // Commands work on what a service has created.
    let _management = start(Binary::Management, &servers, &[]).await;
    let log = KafkaLog::open(servers.log("purchases")).await.unwrap();
    let poison = LogRecord::new(0, SystemClock.now(), Some("poison".into()));
    log.append(poison).await.unwrap();
    for words in [COMMANDS[0], &["doctor"], &["dlq", "ls"]] {
        until("succeed", async || {
            let output = Binary::Management.run(words, &of_commands).await;
            output.status.success()
        })
        .await;
    }
    assert_ended(&check_config().await, 0, "all is well");
}

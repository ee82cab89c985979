//! Missing folders, wrong settings and unavailable servers: commands fail, and create nothing.

use crate::kafka::settings;
use crate::prelude::*;

/// Every command, with valid arguments.
const COMMANDS: &str = "management verify --wait 0
    management doctor
    management dlq ls
    management dlq show
    management dlq replay
    management dlq drop --all
    management dlq ls --topic user_created
    management replay users --from-beginning
    management erase user u1 --confirm
    management import -
    management export";

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[tokio::test]
async fn command_on_a_missing_folder_fails_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mistyped = format!(
        "SHOP_DATA_DIR={}/shop-dta management",
        folder.path().display()
    );
    let mut terminal = Terminal::on(folder.path(), &[]);
    terminal.run(COMMANDS).await;
    terminal
        .run(&COMMANDS.replace("management", &mistyped))
        .await;
    assert_eq!(names(folder.path()), [""; 0]);

    // A log that no service has read is unchanged.
    append(folder.path(), "poison").await;
    std::fs::remove_file(folder.path().join("shop.lock")).unwrap();
    terminal.run("management verify --wait 0").await;
    assert_eq!(names(folder.path()), ["shop.db"]);
    terminal.assert_shown("nothing");
}

#[tokio::test]
async fn wrong_settings_are_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::on(folder.path(), &[("PORT", "0")]);
    // This file is neither of keys nor a certificate.
    terminal
        .run(
            "SHOP_API_KEYS_FILE=Cargo.toml facing
            SHOP_AUTH=jwt SHOP_AUTH_ISSUER=https://i SHOP_AUTH_AUDIENCE=a SHOP_AUTH_JWKS_FILE=Cargo.toml facing
            SHOP_TLS_CERT_FILE=Cargo.toml SHOP_TLS_KEY_FILE=Cargo.toml facing
            SHOP_SERVICE_CA_FILE=Cargo.toml SHOP_MANAGEMENT_URL=https://127.0.0.1:1 facing
            SHOP_HOST=0.0.0.0 facing
            SHOP_ADMIN_ADDR=0.0.0.0:0 facing
            SHOP_LOG_FILE=/nowhere/facing.log facing
            SHOP_DATADIR=/data facing",
        )
        .await;
    terminal.assert_shown("wrong-settings");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[tokio::test]
async fn an_interrupted_migration_is_not_done() {
    // A server that accepts a connection, and never responds.
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    let settings = [("MONGODB_URI", "mongodb://127.0.0.1:1/")];
    let mut terminal = Terminal::on(folder.path(), &settings);
    let on_servers = "SHOP_ROLES=purchases,users,orders KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1 \
        POSTGRES_URL=postgresql://127.0.0.1:1/users_db management";
    let commands = COMMANDS.replace("management", on_servers);
    terminal
        .run_at_once(&format!(
            "{commands}
            {on_servers} status
            management verify --wait 0
            management doctor
            management migrate"
        ))
        .await;
    terminal.assert_shown("unavailable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_create_nothing_on_servers() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let of_purchases = settings(&servers);
    let of_events = servers.settings_of_events();
    let of_commands = [&of_purchases[..], &of_events].concat();
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::on(folder.path(), &borrow_settings(&of_commands));
    let users = servers.name("user_created");
    let commands = COMMANDS.replace("user_created", &users);
    terminal
        .run(&format!(
            "SHOP_USERS_TOPIC= SHOP_USERS_GROUP_ID= SHOP_ORDERS_TOPIC= SHOP_ORDERS_GROUP_ID= management --check-config
            {commands}
            management migrate"
        ))
        .await;
    terminal.assert_shown("nothing-on-servers");

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
}

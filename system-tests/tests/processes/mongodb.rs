//! The store in MongoDB, on a real server.

use bson::doc;

use crate::prelude::*;

#[tokio::test]
async fn an_unavailable_name_server_does_not_end_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("MONGODB_URI", "mongodb+srv://shop.invalid/shop"),
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", "0"),
    ];
    let retries = "MongoDB's addresses are unknown, retrying";
    let mut facing = start_and_log(Binary::Facing, &settings, retries).await;
    assert!(facing.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn migrate_converts_documents_of_the_replaced_systems() {
    let Some(servers) = Servers::shared(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let database = servers.name("purchases");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let collection = client.database(&database).collection("purchases");
    let old = doc! { "username": "ada", "userid": "u1", "price": "1195.30", "timestamp": "2026-03-01T09:00:00Z" };
    collection.insert_one(old).await.unwrap();
    let settings = [("MONGODB_URI", uri), ("MONGODB_DATABASE", &*database)];
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "management migrate
            management migrate --json",
        )
        .await;
    terminal.assert_shown("migrate");
}

/// Each process says what is wrong with the collection, the login or the URI, and in which words.
#[tokio::test]
async fn a_collection_or_uri_that_cannot_be_used_is_named_by_each_command() {
    let Some(servers) = Servers::shared(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let database = servers.name("look");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let unique = doc! { "key": { "userid": 1, "timestamp": 1 }, "name": "once", "unique": true };
    let create = doc! { "createIndexes": "purchases", "indexes": [unique] };
    client
        .database(&database)
        .run_command(create)
        .await
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let settings = [("MONGODB_URI", uri), ("MONGODB_DATABASE", &*database)];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "management --check-config
            management
            management doctor",
        )
        .await;
    terminal.assert_shown("mongodb-look");

    let separator = if uri.contains('?') { '&' } else { '?' };
    let with_options = |options: &str| format!("{uri}{separator}{options}");
    // It accepts connections and never responds, as a server without TLS to one who asks for it.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("mongodb://{}/?tls=true", silent.local_addr().unwrap());
    let missing = servers.name("missing");
    let data = folder.path().to_str().unwrap();
    for (uri, words, code, text) in [
        (
            with_options("compressors=zlib&socketTimeoutMS=1000"),
            &["--check-config"][..],
            0,
            "only zstd is supported; the option socketTimeoutMS of SHOP_MONGODB_URI is left out",
        ),
        (
            with_options("proxyHost=p"),
            &["--check-config"],
            1,
            "the option proxyHost cannot be used",
        ),
        (
            silent.clone(),
            &["--check-config"],
            1,
            "requires TLS: check that the server has TLS",
        ),
        (
            silent.clone(),
            &["status"],
            3,
            "requires TLS: check that the server has TLS",
        ),
        (
            silent,
            &["erase", "user", "u1", "--confirm"],
            3,
            "requires TLS: check that the server has TLS",
        ),
    ] {
        let settings = [
            ("MONGODB_URI", uri.as_str()),
            ("MONGODB_DATABASE", &missing),
            ("SHOP_DATA_DIR", data),
        ];
        let output = Binary::Management.run(words, &settings).await;
        assert_ended(&output, code, text);
    }
}

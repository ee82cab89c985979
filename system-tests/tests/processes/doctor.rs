//! `management doctor`.

use std::path::Path;
use std::process::Output;

use bson::{Decimal128, Document, doc};
use serde_json::Value;

use crate::process::{ADA, Binary, Process, must_buy, open_file, until};
use crate::servers::Servers;
use crate::verify::{manage, text};

/// A folder with five purchases.
async fn five(folder: &Path) {
    let facing = Process::start(Binary::Facing, folder, &[]).await;
    for _ in 0..5 {
        must_buy(&facing, ADA).await;
    }
    until("store all", async || {
        crate::process::stored(&facing, "u1").await == 5
    })
    .await;
}

fn findings(output: &Output) -> Vec<String> {
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn doctor_names_rows_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    five(folder.path()).await;
    let sound = manage(folder.path(), &["doctor"]).await;
    assert!(sound.status.success(), "{sound:?}");
    assert!(
        text(&sound.stdout).contains("5 purchases, unreadable 0\n"),
        "{sound:?}"
    );

    let store = open_file(folder.path());
    let oldest = "SELECT id FROM purchases ORDER BY timestamp, id LIMIT 1";
    let id = store.query_row(&format!("SELECT lower(hex(({oldest})))"), [], |row| {
        row.get::<_, String>(0)
    });
    store
        .execute(
            &format!("UPDATE purchases SET price = 'free' WHERE id = ({oldest})"),
            [],
        )
        .unwrap();
    drop(store);
    let output = manage(folder.path(), &["doctor"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = findings(&output);
    assert!(
        lines[0].starts_with(&format!("x'{}'  price ", id.unwrap())),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with("4 purchases, unreadable 1") && lines.len() == 2,
        "{lines:?}"
    );
    let output = manage(folder.path(), &["doctor", "--json"]).await;
    let lines: Vec<Value> = findings(&output)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[1]["purchases"], &lines[1]["unreadable"]),
        (&4.into(), &1.into())
    );
    // The record is in the log; the stored purchase differs.
    let verified = manage(folder.path(), &["verify", "--wait", "0"]).await;
    assert_ne!(verified.status.code(), Some(0), "{verified:?}");
}

#[tokio::test]
async fn doctor_names_documents_that_cannot_be_read() {
    let Some(servers) = Servers::shared(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let folder = tempfile::tempdir().unwrap();
    let database = servers.name("doctor");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let purchases = client
        .database(&database)
        .collection::<Document>("purchases");
    let good = |number: i32| doc! { "userid": "u1", "username": "ada", "price": number };
    let nan: Decimal128 = "NaN".parse().unwrap();
    let mut all: Vec<Document> = (0..2_500).map(good).collect();
    all.extend([
        doc! { "_id": "order-17", "userid": "u1", "username": "ada", "price": 1 },
        doc! { "_id": 17, "userid": "u1", "username": "ada", "price": 1 },
        doc! { "_id": bson::oid::ObjectId::from_bytes([0; 12]), "userid": "u1", "username": "ada", "price": nan },
        doc! { "_id": bson::oid::ObjectId::from_bytes([255; 12]), "userid": "u1", "price": 1 },
    ]);
    purchases.insert_many(all).await.unwrap();
    let settings = [
        ("SHOP_DATA_DIR", folder.path().to_str().unwrap()),
        ("MONGODB_URI", uri),
        ("MONGODB_DATABASE", &database),
    ];
    // Users are in a file also beside MongoDB.
    std::fs::write(folder.path().join("users.db"), "damaged").unwrap();
    let output = Binary::Management.run(&["doctor"], &settings).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = findings(&output);
    for expected in [
        r#"ObjectId("000000000000000000000000")  price "#,
        r#""order-17"  _id "#,
        r#"ObjectId("ffffffffffffffffffffffff")  username is missing"#,
        "17  _id is neither text nor an ObjectId",
    ] {
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{expected}: {lines:?}"
        );
    }
    assert!(
        lines[0].contains("users.db")
            && lines[5].ends_with("2500 purchases, unreadable 5")
            && lines.len() == 6,
        "{lines:?}"
    );
    for (arguments, unreadable) in [(&["export"][..], 4), (&["export", "--userid", "u1"], 3)] {
        let output = Binary::Management.run(arguments, &settings).await;
        let wrong = text(&output.stderr);
        assert!(
            wrong.contains(&format!("{unreadable} entries cannot be read")),
            "{arguments:?}: {wrong}"
        );
        assert_eq!(
            (output.status.code(), findings(&output).len()),
            (Some(1), 2_500),
            "{arguments:?}"
        );
    }
}

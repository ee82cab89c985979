//! `management doctor`, and `export` beside what it names.

use bson::oid::ObjectId;
use bson::{Bson, Decimal128, Document, doc};

use crate::prelude::*;

#[tokio::test]
async fn doctor_names_rows_that_cannot_be_read() {
    let (folder, facing) = Process::fresh(Binary::Facing, &[]).await;
    for _ in 0..5 {
        must_buy(&facing, ADA).await;
    }
    until_stored(&facing, "u1", 5).await;
    facing.stop().await;
    let mut terminal = Terminal::on(folder.path());
    terminal.run("doctor").await;
    open_file(folder.path())
        .execute_batch(
            "UPDATE purchases SET price = 'free' WHERE id = (SELECT min(id) FROM purchases)",
        )
        .unwrap();
    terminal.run("doctor").await;
    terminal.run("doctor --json").await;
    terminal.assert_shown("doctor");
}

#[tokio::test]
async fn doctor_names_documents_that_cannot_be_read() {
    let Some(servers) = Servers::shared(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let database = servers.name("doctor");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let good = doc! { "userid": "u1", "username": "ada", "price": 1 };
    let with = |name: &str, value: Bson| {
        let mut document = good.clone();
        document.insert(name, value);
        document
    };
    let mut all = vec![good.clone(); 2_500];
    all.extend([
        with("_id", "order-17".into()),
        with("_id", 17.into()),
        doc! { "_id": ObjectId::from_bytes([0; 12]), "userid": "u1", "username": "ada", "price": "NaN".parse::<Decimal128>().unwrap() },
        doc! { "_id": ObjectId::from_bytes([255; 12]), "userid": "u1", "price": 1 },
    ]);
    let purchases = client
        .database(&database)
        .collection::<Document>("purchases");
    purchases.insert_many(all).await.unwrap();
    // Users are in a file also beside MongoDB.
    std::fs::write(folder.path().join("users.db"), "damaged").unwrap();
    let settings = [
        ("SHOP_DATA_DIR", data),
        ("MONGODB_URI", uri),
        ("MONGODB_DATABASE", &database),
    ];
    let doctor = Binary::Management.run(&["doctor"], &settings).await;
    for finding in [
        "/users.db  ",
        "ObjectId(\"000000000000000000000000\")  price ",
        "\"order-17\"  _id ",
        "ObjectId(\"ffffffffffffffffffffffff\")  username is missing",
        "17  _id is neither text nor an ObjectId",
        "2500 purchases, unreadable 5\n",
    ] {
        assert_ended(&doctor, 1, finding);
    }
    let output = Binary::Management.run(&["export"], &settings).await;
    assert_ended(&output, 1, "4 entries cannot be read");
    assert_eq!(text(&output.stdout).lines().count(), 2_500);
}

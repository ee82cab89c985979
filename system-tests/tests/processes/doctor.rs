//! `management doctor`, and `export` beside what it names.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};

use crate::prelude::*;

#[tokio::test]
async fn doctor_names_documents_that_cannot_be_read() {
    let Some(servers) = Servers::shared(&["mongo"]).await else {
        return;
    };
    let uri = servers.address("SHOP_TEST_MONGODB_URI");
    let database = servers.name("doctor");
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let purchase_with_id = |id: Bson| doc! { "_id": id, "userid": "u1", "username": "ada", "price": 1, "timestamp": 5 };
    let object_id = |byte| Bson::from(ObjectId::from_bytes([byte; 12]));
    let documents = [
        purchase_with_id("order-17".into()),
        purchase_with_id(17.into()),
        purchase_with_id(object_id(1)),
        doc! { "_id": object_id(2), "userid": "u1", "username": "ada", "price": f64::NAN },
        doc! { "_id": object_id(3), "userid": "u1", "price": 1 },
    ];
    let database_of_test = client.database(&database);
    let purchases = database_of_test.collection::<Document>("purchases");
    purchases.insert_many(documents).await.unwrap();
    // Users are in a file also beside MongoDB.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users.db"), "damaged").unwrap();

    let settings = [("MONGODB_URI", uri), ("MONGODB_DATABASE", &database)];
    let mut terminal = Terminal::on(folder.path(), &settings);
    terminal
        .run(
            "management doctor
            management export",
        )
        .await;
    terminal.assert_shown("doctor-documents");
}

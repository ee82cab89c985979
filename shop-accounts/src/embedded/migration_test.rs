//! Files of the first version.

use shop_store::embedded::EmbeddedStoreOptions;
use shop_store::embedded::file::FileSchema;
use shop_store::embedded::rusqlite::Connection;

use super::tables::{ORDERS, USERS};
use super::{EmbeddedOrders, EmbeddedUsers};

#[tokio::test]
async fn files_of_an_earlier_version_are_migrated_by_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let write_first_version = |name: &str, schema: &FileSchema| {
        let file = Connection::open(folder.path().join(name)).unwrap();
        let sql = format!(
            "{} PRAGMA application_id = {}; PRAGMA user_version = 1;",
            schema.migrations[0], schema.application_id
        );
        file.execute_batch(&sql).unwrap();
    };
    write_first_version("users.db", &USERS);
    write_first_version("orders.db", &ORDERS);

    let existing = EmbeddedStoreOptions::default().create(false);
    EmbeddedUsers::open(folder.path(), existing.clone())
        .await
        .unwrap_err();
    EmbeddedOrders::open(folder.path(), existing)
        .await
        .unwrap_err();
    let migrating = EmbeddedStoreOptions::default();
    EmbeddedUsers::open(folder.path(), migrating.clone())
        .await
        .unwrap();
    EmbeddedOrders::open(folder.path(), migrating)
        .await
        .unwrap();
}

//! The upgrade of tables to a second version, which no release has had.

use super::fixture::{PostgresFixture, session};
use super::schema::{PURCHASES, SchemaDefinition, migrate};

const RENAME: &str = "alter table {table}_settings rename column value to text";
const SECOND: SchemaDefinition = SchemaDefinition {
    changes: &[PURCHASES.changes[0], RENAME],
    ..PURCHASES
};
/// Fails after its first change, as if the process had been killed there.
const INTERRUPTED: SchemaDefinition = SchemaDefinition {
    changes: &[
        PURCHASES.changes[0],
        RENAME,
        "insert into missing values (1)",
    ],
    ..PURCHASES
};

#[tokio::test]
async fn tables_are_upgraded_whole_or_not_at_all() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let upgrade = async |definition| {
        let mut client = session(fixture.url()).await;
        migrate(definition, false, &mut client).await
    };
    let client = session(fixture.url()).await;
    upgrade(&PURCHASES).await.unwrap();
    let insert = "insert into purchases_settings values ('currency', 'EUR')";
    client.batch_execute(insert).await.unwrap();

    upgrade(&INTERRUPTED).await.unwrap_err();
    client
        .query_one("select value from purchases_settings", &[])
        .await
        .unwrap();
    upgrade(&PURCHASES).await.unwrap();

    upgrade(&SECOND).await.unwrap();
    client
        .query_one("select text from purchases_settings", &[])
        .await
        .unwrap();
    // A program of the version before leaves the tables and their number as they are.
    upgrade(&PURCHASES).await.unwrap();
    upgrade(&SECOND).await.unwrap();
}

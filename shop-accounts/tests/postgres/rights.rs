//! Rows that a trigger skips, and rights that are missing.

use crate::postgres::{drop_role, of_new_role, skip_rows};
use crate::prelude::*;

#[tokio::test]
async fn a_skipped_user_takes_no_number() {
    let Some(fixture) = PostgresEntitiesFixture::on_test_server().await else {
        return;
    };
    let client = session(fixture.url()).await;
    for (number, table) in [(1, "users"), (2, "users_keys"), (3, "users_outbox")] {
        let new = new_user(table);
        skip_rows(&client, "insert", table, "true").await;
        let error = fixture.user_store().insert(&new).await.unwrap_err();
        let chain = error.chain().to_string();
        assert!(chain.contains("a trigger has skipped"), "{table}: {chain}");
        let heal = format!("drop trigger skip on {table}");
        client.batch_execute(&heal).await.unwrap();
        let inserted = fixture.user_store().insert(&new).await.unwrap();
        let user = User::with_number(&new, UserNumber::new(number));
        assert_eq!(inserted, Insertion::Inserted(user), "{table}");
    }
}

#[tokio::test]
async fn a_skipped_event_fails_its_transaction() {
    let Some(own) = OwnTable::on_test_server().await else {
        return;
    };
    // Waits for the table.
    own.outbox.pending(1).await.unwrap();
    let mut client = session(own.url()).await;
    skip_rows(&client, "insert", "outbox", "true").await;
    let transaction = client.transaction().await.unwrap();
    PostgresOutbox::insert_event(&transaction, &event(1, "ada"))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn missing_rights_on_users_are_named() {
    let Some(entities) = PostgresEntitiesFixture::on_test_server().await else {
        return;
    };
    let (as_role, role) = of_new_role(entities.url()).await;
    let owner = session(entities.url()).await;
    let sql = format!(
        "grant all on users, cached_orders, users_keys to {role}; grant select on shop_schema to {role}"
    );
    owner.batch_execute(&sql).await.unwrap();
    let users = PostgresUsers::open(PostgresStoreOptions::new(&*as_role).create_schema(false))
        .await
        .unwrap();
    let error = users.inspect().await.unwrap_err();
    let missing = error.context("missing").unwrap();
    for right in [
        "INSERT on users_outbox",
        "UPDATE on shop_numbers",
        "users_id_seq",
    ] {
        assert!(missing.contains(right), "{error}");
    }
    assert!(
        !missing.contains("CREATE") && !missing.contains("users_keys"),
        "{error}"
    );
    let sql = format!(
        "grant all on users_outbox, shop_numbers to {role}; grant update on sequence users_id_seq to {role}"
    );
    owner.batch_execute(&sql).await.unwrap();
    assert!(users.inspect().await.unwrap().exists);
    drop_role(&owner, &role).await;
}

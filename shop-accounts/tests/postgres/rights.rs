//! Inserts that the database refuses, and rights that are missing.

use crate::postgres::{drop_role, of_new_role, skip_rows};
use crate::prelude::*;
use shop_accounts::users::NewUser;

#[tokio::test]
async fn a_failed_insert_takes_no_number() {
    let Some(fixture) = PostgresEntitiesFixture::on_test_server().await else {
        return;
    };
    let users = fixture.user_store();
    let client = session(fixture.url()).await;
    let mut number = 0;
    let mut assert_takes_no_number = async |new: NewUser, reason: &str, heal: &str| {
        let error = users.insert(&new).await.unwrap_err();
        let chain = error.chain().to_string();
        assert!(chain.contains(reason), "{chain}");

        client.batch_execute(heal).await.unwrap();
        number += 1;
        let user = User::with_number(&new, UserNumber::new(number));
        let inserted = users.insert(&new).await.unwrap();
        assert_eq!(inserted, Insertion::Inserted(user), "{heal}");
        error
    };
    for table in ["users", "users_keys", "users_outbox"] {
        skip_rows(&client, "insert", table, "true").await;
        let heal = format!("drop trigger skip on {table}");
        assert_takes_no_number(new_user(table), "a trigger has skipped", &heal).await;
    }

    let mut with_name_of_another = new_user("eva");
    with_name_of_another.name = "users".parse().unwrap();
    for (new, constraint, heal) in [
        // After the number was taken, in the same transaction.
        (
            new_user("ada"),
            "alter table users_outbox add constraint own check (false) not valid",
            "alter table users_outbox drop constraint own",
        ),
        // A unique index of the operator.
        (
            with_name_of_another,
            "create unique index own on users (name)",
            "drop index own",
        ),
    ] {
        client.batch_execute(constraint).await.unwrap();
        let error = assert_takes_no_number(new, "own", heal).await;
        assert_fails(&error, ErrorKind::Invalid, Outcome::NotApplied);
    }
    let events = users.pending(10).await.unwrap();
    assert!(events.iter().map(|entry| entry.id).eq(1..=5));
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
    let error = users.inspect().await.unwrap().check_writable().unwrap_err();
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

/// As a restore of the data alone leaves the tables: a sign-up that is repeated would be another
/// user.
#[tokio::test]
async fn users_and_orders_without_their_unique_indexes_are_refused() {
    let Some(entities) = PostgresEntitiesFixture::on_test_server().await else {
        return;
    };
    let options = || PostgresStoreOptions::new(entities.url()).create_schema(false);
    let users = PostgresUsers::open(options()).await.unwrap();
    let orders = PostgresOrders::open(options()).await.unwrap();
    users.inspect().await.unwrap().check_writable().unwrap();
    orders.inspect().await.unwrap().check_writable().unwrap();
    let sql =
        "alter table users_keys drop constraint users_keys_key_key; drop index ix_users_email;
        alter table cached_users drop constraint cached_users_pkey";
    session(entities.url())
        .await
        .batch_execute(sql)
        .await
        .unwrap();

    let of_users = users.inspect().await.unwrap().faults;
    let named: Vec<_> = of_users.iter().map(ToString::to_string).collect();
    assert!(
        named[0].ends_with("index on email (table=users)"),
        "{named:?}"
    );
    assert!(
        named[1].ends_with("index on key (table=users_keys)"),
        "{named:?}"
    );
    let of_orders = orders.inspect().await.unwrap().faults;
    assert_eq!(of_orders[0].context("table"), Some("cached_users"));
}

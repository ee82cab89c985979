//! Tables of another program with its rows, other writers, and failures.

use crate::postgres::{cluster_with_standby, insertion, plan};
use crate::prelude::*;
use futures_util::future::join_all;
use shop_accounts::orders::{NewOrder, Order, OrderNumber};
use shop_accounts::postgres::statements::{self, PostgresEntity as _, Reference};
use shop_accounts::users::{UserErase as _, UserOrders as _};
use shop_core::Uuid;
use shop_core::memory::InMemoryLog;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_store::postgres::database::PostgresConnection;
use std::time::Duration;
use tokio::time::timeout;

/// The tables as another program has made them with an object-relational mapper, with rows.
const EXISTING_TABLES: &str = "
    create table users (id serial not null, email varchar not null, name varchar not null, primary key (id));
    create index ix_users_id on users (id);
    create unique index ix_users_email on users (email);
    create table cached_orders (id serial not null, user_id integer not null, primary key (id));
    create index ix_cached_orders_id on cached_orders (id);
    create table orders (
        id serial not null, user_id integer not null, product varchar not null, quantity integer not null,
        total_price numeric(10, 2) not null,
        primary key (id)
    );
    create index ix_orders_id on orders (id);
    create table cached_users (id serial not null, primary key (id));
    create index ix_cached_users_id on cached_users (id);
    insert into users (email, name) select 'user' || n || '@example.com', 'User ' || n from generate_series(1, 40) as n;
    insert into orders (user_id, product, quantity, total_price)
        select n % 40 + 1, 'Notebook', -n, 19.5 * n from generate_series(1, 60) as n;
    insert into cached_orders (id, user_id) select id, user_id from orders;
    insert into cached_users (id) select id from users;
    -- A number that was used by an insert that failed.
    select nextval('users_id_seq');
    delete from orders where id = 60;
";

fn new_order(user: i64) -> NewOrder {
    let key = Uuid::now_v7().into();
    let product = "Notebook".parse().unwrap();
    NewOrder::new(
        key,
        UserNumber::new(user),
        product,
        2,
        "0.00".parse().unwrap(),
    )
}

/// Opens users in the schema at `url`, as another process does.
async fn open(url: &str) -> PostgresUsers {
    PostgresUsers::open(PostgresStoreOptions::new(url))
        .await
        .unwrap()
}

async fn registered(users: &PostgresUsers, name: &str) -> i64 {
    match users.insert(&new_user(name)).await.unwrap() {
        Insertion::Inserted(user) => user.id.get(),
        other => panic!("{other:?}"),
    }
}

async fn pending(outbox: &dyn Outbox) -> Vec<i64> {
    let entries = outbox.pending(1_000).await.unwrap();
    entries.iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn rows_and_numbers_of_the_replaced_system_continue() {
    let Some(entities) = PostgresEntitiesFixture::after(EXISTING_TABLES).await else {
        return;
    };
    let users = entities.user_store();
    let orders = entities.order_store();
    let ada = users.get(UserNumber::new(7)).await.unwrap().unwrap();
    assert_eq!(
        (ada.email.as_str(), ada.name.as_str()),
        ("user7@example.com", "User 7")
    );
    let order = orders.get(OrderNumber::new(3)).await.unwrap().unwrap();
    assert_eq!(
        (order.quantity, order.total_price.to_string().as_str()),
        (-3, "58.50")
    );
    let of_ada = users.orders_of(ada.id).await.unwrap().unwrap();
    assert_eq!(of_ada, [6, 46].map(OrderNumber::new));

    let taken = users.insert(&new_user("user7")).await.unwrap();
    assert_eq!(taken, Insertion::Refused);
    assert_eq!(registered(users, "eva").await, 42, "41 was used");
    let placed = orders.insert(&new_order(40)).await.unwrap();
    assert!(matches!(placed, Insertion::Inserted(order) if order.id.get() == 61));
    let unknown = orders.insert(&new_order(41)).await.unwrap();
    assert_eq!(unknown, Insertion::Refused);
    // The other rows have no events.
    assert_eq!(
        (pending(users).await, pending(orders).await),
        (vec![42], vec![61])
    );

    // The other program writes again, then this one.
    let other_program = session(entities.url()).await;
    let insert = "insert into users (email, name) values ('bob@example.com', 'Bob') returning id";
    let inserted = other_program.query_one(insert, &[]).await.unwrap();
    assert_eq!(inserted.get::<_, i32>(0), 43);
    let taken = users.insert(&new_user("bob")).await.unwrap();
    assert_eq!(taken, Insertion::Refused);
    assert_eq!(registered(users, "max").await, 44);
    assert!(users.erase_user(ada.id).await.unwrap());
    assert_eq!(users.get(ada.id).await.unwrap(), None);
}

/// The process test of `SHOP_ADOPT_TABLES` has the start of a service.
#[tokio::test]
async fn tables_of_another_program_are_used_only_on_request() {
    let Some(server) = TestServer::find().await else {
        return;
    };
    let url = fresh_schema(&server.url).await;
    let session = session(&url).await;
    session.batch_execute(EXISTING_TABLES).await.unwrap();
    let orders = PostgresOrders::open(PostgresStoreOptions::new(url.as_str()));
    let inspection = orders.await.unwrap().inspect().await.unwrap();
    let error = inspection.check_writable().unwrap_err();
    assert_eq!(error.context("tables"), Some("orders, cached_users"));
    let users = open(&url).await;
    let seven = UserNumber::new(7);
    for error in [
        users.get(seven).await.unwrap_err(),
        users.insert(&new_user("eva")).await.unwrap_err(),
        users.erase_user(seven).await.unwrap_err(),
        users.inspect().await.unwrap().check_writable().unwrap_err(),
    ] {
        assert_fails(&error, ErrorKind::Denied, Outcome::NotApplied);
        assert_eq!(error.context("tables"), Some("users, cached_orders"));
    }
    let created =
        "select from pg_class where relname in ('users_keys', 'orders_keys', 'shop_schema')
        and relnamespace = current_schema()::regnamespace";
    assert!(session.query(created, &[]).await.unwrap().is_empty());

    let adopting = PostgresStoreOptions::new(url.as_str()).adopt_tables(true);
    let adopting = PostgresUsers::open(adopting).await.unwrap();
    assert!(adopting.get(seven).await.unwrap().is_some());
    // The tables belong to this program from now on.
    assert_eq!(registered(&open(&url).await, "eva").await, 42);
}

#[tokio::test]
async fn references_beyond_the_replaced_columns_are_rejected_alone() {
    let Some(entities) = PostgresEntitiesFixture::after(EXISTING_TABLES).await else {
        return;
    };
    let user = |id: i64| User::with_number(&new_user("eva"), UserNumber::new(id));
    let batch: Arc<[User]> = [user(100), user(i64::from(i32::MAX) + 1), user(101), user(5)].into();
    let outcomes = entities.order_store().apply(batch).await.unwrap();
    assert!(
        matches!(
            outcomes[..],
            [
                InsertOutcome::Inserted,
                InsertOutcome::Rejected(_),
                InsertOutcome::Inserted,
                InsertOutcome::Duplicate
            ]
        ),
        "{outcomes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_race_without_gaps_and_with_unique_emails() {
    let Some(entities) = PostgresEntitiesFixture::after(EXISTING_TABLES).await else {
        return;
    };
    let one = entities.user_store();
    let other = open(entities.url()).await;
    let calls = (0..40).flat_map(|number| {
        // Each fourth address is registered by both.
        let name_of_other = if number % 4 == 0 { "one" } else { "other" };
        [(one, "one"), (&other, name_of_other)].map(|(users, name)| {
            let users = users.clone();
            let new = new_user(&format!("{name}-{number}"));
            tokio::spawn(async move { users.insert(&new).await.unwrap() })
        })
    });
    let mut numbers = Vec::new();
    for insertion in join_all(calls).await {
        match insertion.unwrap() {
            Insertion::Inserted(user) => numbers.push(user.id.get()),
            refused => assert_eq!(refused, Insertion::Refused),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (42..112).collect::<Vec<_>>());
    assert_eq!(pending(&other).await, numbers, "each has one event");
}

#[tokio::test]
async fn an_open_insert_delays_the_next_number() {
    let Some(entities) = PostgresEntitiesFixture::on_test_server().await else {
        return;
    };
    let users = entities.user_store();
    assert_eq!(registered(users, "first").await, 1);
    let mut session = session(entities.url()).await;
    let open = session.transaction().await.unwrap();
    let new = new_user("open");
    let user = User::with_number(&new, UserNumber::new(2));
    let insertion = statements::insert_statement(&user, &new).unwrap();
    let rows = open
        .query_typed(&insertion.sql, &insertion.parameters())
        .await;
    assert_eq!(rows.unwrap().len(), 1);
    let mut later = std::pin::pin!(registered(users, "later"));
    let waited = timeout(Duration::from_millis(300), &mut later).await;
    assert!(waited.is_err(), "no event can overtake another");
    assert_eq!(pending(users).await, [1]);
    open.commit().await.unwrap();
    assert_eq!(later.await, 3);
    assert_eq!(pending(users).await, [1, 2, 3]);
}

#[tokio::test]
async fn every_statement_uses_an_index() {
    let many = EXISTING_TABLES
        .replace("(1, 40)", "(1, 20000)")
        .replace("(1, 60)", "(1, 20000)")
        .replace("% 40", "% 5000");
    let Some(entities) = PostgresEntitiesFixture::after(&many).await else {
        return;
    };
    let keys_and_events = "
        insert into users_keys (id, key) select id, 'key ' || id from users;
        insert into orders_keys (id, key) select id, 'key ' || id from orders;
        insert into users_outbox (id, created, headers) select id, now(), '' from users;
        analyze";
    let session = session(entities.url()).await;
    session.batch_execute(keys_and_events).await.unwrap();

    let seven = UserNumber::new(7);
    let new_user = new_user("eva");
    let user = User::with_number(&new_user, seven);
    let new_order = new_order(7);
    let order = Order::with_number(&new_order, OrderNumber::new(7));
    let orders_of_users = insertion(
        &User::REFERENCES,
        &[Reference::from(User::reference(&order))],
    );
    let users_of_orders = insertion(
        &Order::REFERENCES,
        &[Reference::from(Order::reference(&user))],
    );
    let user_indexes = ["users_keys_key_key", "ix_users_email"];
    let order_indexes = ["orders_keys_key_key", "cached_users"];
    let of_outbox = "users_outbox_pkey";
    let statements = [
        (["Index Scan", ""], statements::row_by_id_query::<User>(7)),
        (
            user_indexes,
            statements::insert_state_query::<User>(&new_user),
        ),
        (
            user_indexes,
            statements::insert_statement(&user, &new_user).unwrap(),
        ),
        (
            order_indexes,
            statements::insert_state_query::<Order>(&new_order),
        ),
        (
            order_indexes,
            statements::insert_statement(&order, &new_order).unwrap(),
        ),
        (
            ["cached_orders_by_user", ""],
            statements::order_numbers_query(seven),
        ),
        (
            ["users_keys_pkey", of_outbox],
            statements::erase_statement(seven),
        ),
        (["cached_orders", ""], orders_of_users),
        (["cached_users", ""], users_of_orders),
        (
            [of_outbox, ""],
            statements::pending_query("users_outbox", 100),
        ),
        (
            [of_outbox, ""],
            statements::delete_statement("users_outbox", &[1, 2, 3]),
        ),
    ];
    let options = PostgresStoreOptions::new(entities.url());
    let connection = PostgresConnection::open(options, &statements::USERS).unwrap();
    for (indexes, statement) in statements {
        let sql = statement.sql.clone();
        let plan = plan(&connection, statement).await;
        let uses_all = indexes.iter().all(|index| plan.contains(index));
        // The one row of each table of rows.
        let others = plan.replace("Seq Scan on shop_numbers", "");
        let scans = others.contains("Seq Scan") || others.contains("Sort");
        assert!(uses_all && !scans, "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn numbers_of_rows_that_the_server_has_lost_are_not_given_again() {
    let Some(entities) = PostgresEntitiesFixture::after(EXISTING_TABLES).await else {
        return;
    };
    let users = entities.user_store();
    assert_eq!(registered(users, "eva").await, 42);
    assert_eq!(registered(users, "bob").await, 43);

    // As on a standby that did not have them when it was promoted.
    let promoted = session(entities.url()).await;
    let lose = "delete from users_keys where id > 41; delete from users_outbox; delete from users where id > 41;
                update shop_numbers set last = 41 where name = 'users'";
    promoted.batch_execute(lose).await.unwrap();
    assert_eq!(registered(users, "max").await, 44);
    let other_process = open(entities.url()).await;
    assert_eq!(registered(&other_process, "zoe").await, 45);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_in_the_event_log_are_not_given_again_after_a_promotion() {
    let Some(cluster) = cluster_with_standby(false).await else {
        return;
    };
    let log = InMemoryLog::default();
    let start = async || {
        let users = open(&cluster.url_of_both()).await;
        users.set_event_log(Arc::new(log.clone()));
        users
    };
    let first = start().await;
    let second = start().await;
    assert_eq!(registered(&first, "eva").await, 1);
    let primary = session(&cluster.url()).await;
    let replayed = "select from pg_stat_replication where replay_lsn = pg_current_wal_flush_lsn()";
    until(async || !primary.query(replayed, &[]).await.unwrap().is_empty()).await;
    tokio::task::block_in_place(|| cluster.ctl("kill_standby"));
    for (name, number) in [("bob", 2), ("max", 3), ("zoe", 4)] {
        assert_eq!(registered(&first, name).await, number);
    }
    for event in first.pending(10).await.unwrap() {
        let _position = log.append(event.record);
    }
    drop(first);

    // Both processes have seen less than the log: one ran before, the other starts now.
    tokio::task::block_in_place(|| cluster.ctl("promote"));
    until(async || EntityStore::<User>::check(&second).await.is_ok()).await;
    assert_eq!(registered(&second, "kim").await, 5);
    let third = start().await;
    assert_eq!(registered(&third, "tom").await, 6);
}

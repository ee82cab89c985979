//! Rows that the server rejects, other writers, and servers that refuse.

use futures_util::future::join_all;

use super::connection::{PostgresConnection, Statement};
use super::fixture::{
    PostgresFixture, drop_role, fresh_schema, of_new_role, session, until, with_option,
    with_setting,
};
use super::{PostgresStore, PostgresStoreOptions, schema};
use crate::server_fixture::*;

async fn open(url: impl Into<String>) -> PostgresStore {
    let options = PostgresStoreOptions::new(url.into());
    PostgresStore::open(options).await.unwrap()
}

/// Runs statements as another program does.
async fn run(url: &str, statements: &str) {
    session(url).await.batch_execute(statements).await.unwrap();
}

async fn assert_denied_inspection(store: &PostgresStore, reason: &str) {
    let error = store.inspect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains(reason), "{error}");
}

#[tokio::test]
async fn a_rejected_row_does_not_affect_the_others() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let sql = "alter table purchases add constraint own check (price not in (7.5, 600.5))";
    run(fixture.url(), sql).await;
    let store = fixture.postgres();
    let all = purchases(1_000);
    let outcomes = store.apply(all.clone().into()).await.unwrap();
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            InsertOutcome::Rejected(reason) if number == 7 || number == 600 => {
                assert!(reason.detail().contains("23514"), "{reason}");
            }
            outcome => assert!(
                matches!(outcome, InsertOutcome::Inserted),
                "{number}: {outcome:?}"
            ),
        }
    }
    let again = store.apply(Arc::from(&all[590..610])).await.unwrap();
    let duplicates = again
        .iter()
        .filter(|outcome| matches!(outcome, InsertOutcome::Duplicate))
        .count();
    assert_eq!(duplicates, 19, "{again:?}");
    assert_eq!(count(&store).await, 998);
}

#[tokio::test]
async fn a_rejected_session_rejects_no_row() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    // 22023, as of a server that cannot read its files.
    let url = with_setting(fixture.url(), "work_mem", "much");
    let store = open(url).await;
    let error = store.apply(purchases(3).into()).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    assert!(format!("{error:?}").contains("22023"), "{error:?}");
}

#[tokio::test]
async fn rows_of_other_programs_are_skipped_and_counted() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases(10);
    store.apply(all.clone().into()).await.unwrap();
    // Newer than all purchases, so the first page consists of them.
    let rows = "insert into purchases
                select 'other ' || number, 'u1', 'ada', 1, now() + interval '1 hour' from generate_series(1, 60) as number";
    run(fixture.url(), rows).await;
    let page = store
        .page(&Selector::All, &PageRequest::default())
        .await
        .unwrap();
    assert_eq!((page.items.len(), page.next), (10, None));
    assert_eq!(store.unreadable().load(Ordering::Relaxed), 60);
    let scanned = store.scan_batch(None::<&Cursor>).await.unwrap();
    assert_eq!(
        (scanned.purchases.len(), scanned.unreadable.len()),
        (10, 60)
    );
    // The table rejects what would make sums wrong.
    for row in [
        "'a', 'u1', 'ada', -1, now()",
        "'a', 'u1', 'ada', 'NaN', now()",
        "'a', 'u1', null, 1, now()",
    ] {
        let insert = format!("insert into purchases values ({row})");
        let client = session(fixture.url()).await;
        client.batch_execute(&insert).await.unwrap_err();
    }
    // A sum has more digits than a price: that of eight million at the maximum.
    let large = "alter table purchases drop constraint purchases_price_check;
                 insert into purchases values ('b', 'large', 'ada', 8000000000000000000000.00000001, now())";
    run(fixture.url(), large).await;
    let user = Selector::User("large".parse().unwrap());
    let sum = store.summary(&user).await.unwrap().total_spent;
    assert_eq!(sum.to_string(), "8000000000000000000000.00000001");
}

async fn insert_repeatedly(store: PostgresStore, all: Vec<Purchase>) {
    for _ in 0..5 {
        for batch in all.chunks(40) {
            let mut outcomes = store.apply(batch.into()).await.unwrap();
            let is_erased = |outcome: &InsertOutcome| matches!(outcome, InsertOutcome::Erased);
            outcomes.retain(|outcome| !is_erased(outcome));
            assert_stored(&outcomes);
        }
    }
}

#[tokio::test]
async fn an_erased_purchase_does_not_come_back_in_a_race() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases(400);
    let inserts = (0..4).map(|part: usize| {
        let store = store.clone();
        let mut batch = all.clone();
        tokio::spawn(insert_repeatedly(store, batch.split_off(part * 50)))
    });
    let inserts: Vec<_> = inserts.collect();
    let user = "u3".parse().unwrap();
    for _ in 0..20 {
        store.erase(&user, 5).await.unwrap();
    }
    for insert in inserts {
        insert.await.unwrap();
    }
    let of_user = Selector::User(user.clone());
    let before = store.summary(&of_user).await.unwrap().count;
    let mut erased = 0;
    while erased < before {
        erased += store.erase(&user, 10).await.unwrap();
    }
    for (purchase, outcome) in all
        .iter()
        .zip(store.apply(all.clone().into()).await.unwrap())
    {
        let is_as_expected = match purchase.user_id == user {
            true => matches!(outcome, InsertOutcome::Erased),
            false => matches!(outcome, InsertOutcome::Duplicate),
        };
        assert!(is_as_expected, "{purchase:?}: {outcome:?}");
    }
    assert_eq!(store.summary(&of_user).await.unwrap().count, 0);
    assert_eq!(count(&store).await, 400 - 57);
}

#[tokio::test]
async fn processes_that_start_together_create_one_table() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fresh_schema(fixture.server_url()).await;
    let stores = join_all((0..8).map(|_| open(&*url))).await;
    for (store, purchase) in stores.iter().zip(purchases(8)) {
        // The first call waits for the table.
        assert_stored(&store.apply(Arc::new([purchase])).await.unwrap());
    }
    assert_eq!(count(&stores[0]).await, 8);
    assert!(stores[0].inspect().await.unwrap().exists);
    let changes = session(&url).await;
    let changes = changes.query_one("select name, version from shop_schema", &[]);
    let changes = changes.await.unwrap();
    assert_eq!(changes.get::<_, &str>("name"), "purchases");
    assert_eq!(changes.get::<_, i32>("version"), 5);

    let url = fresh_schema(fixture.server_url()).await;
    let options = PostgresStoreOptions::new(url).create_schema(false);
    let absent = PostgresStore::open(options).await.unwrap();
    assert!(!absent.inspect().await.unwrap().exists);
    let error = absent.check_reads().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_standby_is_read_only() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    fixture.postgres().apply(purchases(3).into()).await.unwrap();
    let read_only = with_setting(fixture.url(), "default_transaction_read_only", "on");
    let store = open(&*read_only).await;
    store.check_reads().await.unwrap();
    assert_eq!(count(&store).await, 3);
    for error in [
        store.apply(purchases(1).into()).await.unwrap_err(),
        store.check().await.unwrap_err(),
    ] {
        assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    assert_denied_inspection(&store, "default_transaction_read_only").await;
    let primary = with_option(&read_only, "target_session_attrs=read-write");
    let checked = open(primary).await.check().await;
    assert_eq!(checked.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_server_ends_a_statement_before_its_client() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = super::outage_test::store(fixture.url(), 5).await;
    store.check().await.unwrap();
    store.check_reads().await.unwrap();
    let mut session = session(fixture.url()).await;
    let lock = session.transaction().await.unwrap();
    lock.batch_execute("lock table purchases in access exclusive mode")
        .await
        .unwrap();
    let (insert, sum) = tokio::join!(
        store.apply(purchases(3).into()),
        store.summary(&Selector::All)
    );
    for error in [insert.map(drop).unwrap_err(), sum.map(drop).unwrap_err()] {
        let found = (error.kind(), error.outcome());
        assert_eq!(
            found,
            (ErrorKind::DeadlineExceeded, Outcome::NotApplied),
            "{error:?}"
        );
    }
    lock.rollback().await.unwrap();
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn sessions_acknowledge_what_is_durable() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    for (given, expected) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let url = with_setting(fixture.url(), "synchronous_commit", given);
        let connection =
            PostgresConnection::open(PostgresStoreOptions::new(url), &schema::PURCHASES).unwrap();
        let rows = connection
            .write(Statement::new("show synchronous_commit"))
            .await
            .unwrap();
        assert_eq!(rows[0].get::<_, &str>(0), expected, "{given}");
    }
}

#[tokio::test]
async fn sessions_are_left_unchanged() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = with_setting(fixture.url(), "synchronous_commit", "off");
    let store = PostgresStore::open(PostgresStoreOptions::new(url).max_connections(2))
        .await
        .unwrap();
    store.apply(purchases(3).into()).await.unwrap();
    store.check().await.unwrap();
    // The only session, as a pooler would give it to another client.
    let session = store.connection.writes.get().await.unwrap();
    let sql =
        "select name, setting from pg_settings where source = 'session' and setting <> reset_val";
    let changed = session.client.query(sql, &[]).await.unwrap();
    assert!(changed.is_empty(), "{changed:?}");
    let rows = session
        .client
        .query("show synchronous_commit", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "off");
}

#[tokio::test]
async fn connections_are_limited_and_closed_when_idle() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let name = format!("limit_{}", shop_core::Uuid::now_v7().simple());
    let url = with_option(fixture.url(), &format!("application_name={name}"));
    let options = PostgresStoreOptions::new(url)
        .max_connections(3)
        .idle_timeout(Duration::from_millis(200));
    let store = PostgresStore::open(options).await.unwrap();
    let calls = purchases(40).into_iter().map(|purchase| {
        let store = store.clone();
        tokio::spawn(async move {
            store.apply(Arc::new([purchase])).await.unwrap();
            store.summary(&Selector::All).await.unwrap();
        })
    });
    let calls: Vec<_> = calls.collect();
    let session = session(fixture.url()).await;
    let sql = "select count(*) from pg_stat_activity where application_name = $1";
    let open_connections = async || session.query_one(sql, &[&name]).await.unwrap().get(0);
    let mut most: i64 = 0;
    for call in calls {
        most = most.max(open_connections().await);
        call.await.unwrap();
    }
    assert!((1..=3).contains(&most), "{most}");
    until(async || open_connections().await == 0).await;
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_table_is_created_when_the_right_is_granted() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fresh_schema(fixture.server_url()).await;
    let (as_role, role) = of_new_role(&url).await;
    let store = open(as_role).await;
    store.wait_for_schema().await;
    let error = store.check().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert_denied_inspection(&store, "CREATE on schema").await;
    let schema = url.rsplit_once("search_path%3D").unwrap().1;
    run(&url, &format!("grant create on schema {schema} to {role}")).await;
    let stored = async {
        while let Err(error) = store.apply(purchases(1).into()).await {
            assert!(error.is_retryable(), "{error:?}");
        }
    };
    timeout(A_MINUTE, stored).await.unwrap();
    assert!(store.inspect().await.unwrap().exists);
    drop_role(&session(&url).await, &role).await;
}

#[tokio::test]
async fn a_check_writes_and_leaves_nothing() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let (as_role, role) = of_new_role(fixture.url()).await;
    let url = fixture.url();
    let grant = format!("grant select on purchases, shop_schema to {role}");
    run(url, &grant).await;
    let store = open(as_role).await;
    store.check_reads().await.unwrap();
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::Denied);
    let missing = "missing=INSERT on purchases, UPDATE on purchases, DELETE on purchases";
    assert_denied_inspection(&store, missing).await;
    let tables = "purchases, purchases_clock, purchases_waiting, purchases_settings";
    let grant = format!("grant select, insert, update, delete on {tables} to {role}");
    run(url, &grant).await;
    store.check().await.unwrap();
    assert!(store.inspect().await.unwrap().exists);
    let revoke = format!("revoke insert on purchases from {role}");
    run(url, &revoke).await;
    // A recent check counts until a statement fails.
    store.check().await.unwrap();
    store.apply(purchases(1).into()).await.unwrap_err();
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(count(&fixture.postgres()).await, 0);
    drop_role(&session(url).await, &role).await;
}

#[tokio::test]
async fn a_rejected_login_is_denied() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let base = fixture.server_url().split('?').next().unwrap();
    let check = async |url: String| {
        PostgresStore::open(PostgresStoreOptions::new(url))
            .await?
            .check()
            .await
    };
    let (start, _) = base.rsplit_once('/').unwrap();
    let error = check(format!("{start}/no_such_database"))
        .await
        .unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    assert!(error.to_string().contains("does not exist"), "{error}");
    let (scheme, rest) = base.split_once("//").unwrap();
    let (_, host) = rest.rsplit_once('@').unwrap();
    let error = check(format!("{scheme}//nobody_of_this_name:hunter2@{host}"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

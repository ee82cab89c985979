//! Rows that the server rejects, other writers, and servers that refuse.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use shop_core::conformance::assert_fails;
use shop_core::ports::{
    Cursor, InsertOutcome, PageRequest, PurchaseErase, PurchaseQuery, RecordStore as _, Selector,
};
use shop_core::{Clock as _, ErrorKind, NewPurchase, Outcome, Purchase, SystemClock};

use super::connection::PostgresConnection;
use super::fixture::{PostgresFixture, drop_role, fresh_schema, of_new_role, session, with_option};
use super::{PostgresStore, PostgresStoreOptions, schema};

pub(super) fn purchases(count: u64) -> Vec<Purchase> {
    let purchase = |number| {
        let user = format!("u{}", number % 7);
        let new = NewPurchase::for_user(user)
            .with_user_name("ada")
            .with_price(format!("{number}.50"))
            .unwrap();
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    };
    (0..count).map(purchase).collect()
}

fn is_stored(outcome: &InsertOutcome) -> bool {
    matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Duplicate)
}

#[tokio::test]
async fn a_rejected_row_does_not_affect_the_others() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let sql = "alter table purchases add constraint own check (price not in (7.5, 600.5))";
    session(fixture.url())
        .await
        .batch_execute(sql)
        .await
        .unwrap();
    let all = purchases(1_000);
    let outcomes = fixture.postgres().apply(all.clone().into()).await.unwrap();
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
    let again = fixture
        .postgres()
        .apply(Arc::from(&all[590..610]))
        .await
        .unwrap();
    let duplicates = again
        .iter()
        .filter(|outcome| matches!(outcome, InsertOutcome::Duplicate))
        .count();
    assert_eq!(duplicates, 19, "{again:?}");
    assert_eq!(
        fixture
            .postgres()
            .summary(&Selector::All)
            .await
            .unwrap()
            .count,
        998
    );
}

#[tokio::test]
async fn a_rejected_session_rejects_no_row() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    // 22023, as of a server that cannot read its files.
    let url = fixture
        .url()
        .replace("options=", "options=-c%20work_mem%3Dmuch%20");
    let store = PostgresStore::open(PostgresStoreOptions::new(url))
        .await
        .unwrap();
    let error = store.apply(purchases(3).into()).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    assert!(format!("{error:?}").contains("22023"), "{error:?}");
}

#[tokio::test]
async fn statements_look_for_stored_rows_while_batches_repeat_them() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases(130);
    let apply = async |range| {
        let outcomes = store.apply(Arc::from(&all[range])).await.unwrap();
        let inserted = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, InsertOutcome::Inserted))
            .count();
        assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
        (inserted, store.connection.repeats.load(Ordering::Relaxed))
    };
    assert_eq!(apply(0..10).await, (10, 0));
    assert_eq!(
        apply(5..15).await,
        (5, 100),
        "the first statement fails, and the second one looks for them"
    );
    assert_eq!(apply(10..20).await, (5, 100));
    assert_eq!(apply(20..25).await, (5, 99));
    assert_eq!(apply(24..26).await, (1, 100));
    for left in (0..100).rev() {
        let next = 125 - left;
        assert_eq!(
            apply(next..next + 1).await,
            (1, u32::try_from(left).unwrap())
        );
    }
    assert_eq!(apply(126..130).await, (4, 0));
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 130);
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
    session(fixture.url())
        .await
        .batch_execute(rows)
        .await
        .unwrap();
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
        session(fixture.url())
            .await
            .batch_execute(&insert)
            .await
            .unwrap_err();
    }
    // A sum has more digits than a price: that of eight million at the maximum.
    let large = "alter table purchases drop constraint purchases_price_check;
                 insert into purchases values ('b', 'large', 'ada', 8000000000000000000000.00000001, now())";
    session(fixture.url())
        .await
        .batch_execute(large)
        .await
        .unwrap();
    let sum = store
        .summary(&Selector::User("large".parse().unwrap()))
        .await
        .unwrap()
        .total_spent;
    assert_eq!(sum.to_string(), "8000000000000000000000.00000001");
}

async fn insert_repeatedly(store: PostgresStore, all: Vec<Purchase>) {
    for _ in 0..5 {
        for batch in all.chunks(40) {
            let outcomes = store.apply(batch.into()).await.unwrap();
            let is_fine = |outcome| is_stored(outcome) || matches!(outcome, InsertOutcome::Erased);
            assert!(outcomes.iter().all(is_fine), "{outcomes:?}");
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
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 400 - 57);
}

#[tokio::test]
async fn processes_that_start_together_create_one_table() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fresh_schema(fixture.server_url()).await;
    let opened =
        join_all((0..8).map(|_| PostgresStore::open(PostgresStoreOptions::new(url.as_str()))))
            .await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    for (store, purchase) in stores.iter().zip(purchases(8)) {
        // The first call waits for the table.
        assert!(matches!(
            store.apply(Arc::new([purchase])).await.unwrap()[..],
            [InsertOutcome::Inserted]
        ));
    }
    let changes = session(&url)
        .await
        .query("select name, version from shop_schema", &[])
        .await
        .unwrap();
    assert_eq!(
        changes
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect::<Vec<(String, i32)>>(),
        [("purchases".to_owned(), 5)]
    );
    let mut options = PostgresStoreOptions::new(fresh_schema(fixture.server_url()).await);
    options.create_schema = false;
    let absent = PostgresStore::open(options).await.unwrap();
    assert!(!absent.inspect().await.unwrap().exists && stores[0].inspect().await.unwrap().exists);
    assert_eq!(
        absent.check_reads().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_standby_is_read_only() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    fixture.postgres().apply(purchases(3).into()).await.unwrap();
    let read_only = fixture.url().replace(
        "options=",
        "options=-c%20default_transaction_read_only%3Don%20",
    );
    let store = PostgresStore::open(PostgresStoreOptions::new(read_only.as_str()))
        .await
        .unwrap();
    store.check_reads().await.unwrap();
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 3);
    for error in [
        store.apply(purchases(1).into()).await.unwrap_err(),
        store.check().await.unwrap_err(),
    ] {
        assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    let error = store.inspect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("default_transaction_read_only"),
        "{error}"
    );
    let primary = with_option(&read_only, "target_session_attrs=read-write");
    let store = PostgresStore::open(PostgresStoreOptions::new(primary))
        .await
        .unwrap();
    assert_eq!(
        store.check().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn the_server_ends_a_statement_before_its_client() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let mut options = PostgresStoreOptions::new(fixture.url());
    (options.insert_timeout, options.query_timeout) =
        (Duration::from_secs(5), Duration::from_secs(5));
    let store = PostgresStore::open(options).await.unwrap();
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
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 0);
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
        let url = fixture.url().replace(
            "options=",
            &format!("options=-c%20synchronous_commit%3D{given}%20"),
        );
        let connection =
            PostgresConnection::open(PostgresStoreOptions::new(url), &schema::PURCHASES).unwrap();
        let rows = connection
            .write(super::connection::Statement::new("show synchronous_commit"))
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
    let url = fixture
        .url()
        .replace("options=", "options=-c%20synchronous_commit%3Doff%20");
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
    let mut options = PostgresStoreOptions::new(url).max_connections(3);
    options.idle_timeout = Duration::from_millis(200);
    let store = PostgresStore::open(options).await.unwrap();
    let calls = purchases(40).into_iter().map(|purchase| {
        let store = store.clone();
        tokio::spawn(async move {
            store.apply(Arc::new([purchase])).await.unwrap();
            store.summary(&Selector::All).await.unwrap();
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut most = 0;
    let session = session(fixture.url()).await;
    let mut count = async || {
        let sql = "select count(*) from pg_stat_activity where application_name = $1";
        let count: i64 = session.query_one(sql, &[&name]).await.unwrap().get(0);
        most = most.max(count);
        (count, most)
    };
    for call in calls {
        count().await;
        call.await.unwrap();
    }
    let closed = async { while count().await.0 > 0 {} };
    tokio::time::timeout(Duration::from_secs(60), closed)
        .await
        .unwrap();
    assert!((1..=3).contains(&count().await.1));
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_table_is_created_when_the_right_is_granted() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fresh_schema(fixture.server_url()).await;
    let (as_role, role) = of_new_role(&url).await;
    let store = PostgresStore::open(PostgresStoreOptions::new(as_role.as_str()))
        .await
        .unwrap();
    store.wait_for_schema().await;
    let error = store.check().await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let error = store.inspect().await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Denied && error.to_string().contains("CREATE on schema"),
        "{error}"
    );
    let schema = url.rsplit_once("search_path%3D").unwrap().1;
    let session = session(&url).await;
    session
        .batch_execute(&format!("grant create on schema {schema} to {role}"))
        .await
        .unwrap();
    let stored = async {
        while let Err(error) = store.apply(purchases(1).into()).await {
            assert!(error.is_retryable(), "{error:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stored)
        .await
        .unwrap();
    assert!(store.inspect().await.unwrap().exists);
    session
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_check_writes_and_leaves_nothing() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let (as_role, role) = of_new_role(fixture.url()).await;
    let session = session(fixture.url()).await;
    session
        .batch_execute(&format!("grant select on purchases, shop_schema to {role}"))
        .await
        .unwrap();
    let store = PostgresStore::open(PostgresStoreOptions::new(as_role.as_str()))
        .await
        .unwrap();
    store.check_reads().await.unwrap();
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::Denied);
    let error = store.inspect().await.unwrap_err();
    let missing = "missing=INSERT on purchases, UPDATE on purchases, DELETE on purchases";
    assert!(
        error.kind() == ErrorKind::Denied && error.to_string().contains(missing),
        "{error}"
    );
    let all =
        "grant select, insert, update, delete on purchases, purchases_clock, purchases_waiting,
               purchases_settings to";
    session
        .batch_execute(&format!("{all} {role}"))
        .await
        .unwrap();
    store.check().await.unwrap();
    assert!(store.inspect().await.unwrap().exists);
    session
        .batch_execute(&format!("revoke insert on purchases from {role}"))
        .await
        .unwrap();
    store
        .check()
        .await
        .expect("a recent check counts until a statement fails");
    store.apply(purchases(1).into()).await.unwrap_err();
    assert_eq!(store.check().await.unwrap_err().kind(), ErrorKind::Denied);
    let rows = session.query("select from purchases", &[]).await.unwrap();
    assert!(rows.is_empty());
    session
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_inspection_finds_each_missing_right() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let (as_role, role) = of_new_role(fixture.url()).await;
    let owner = session(fixture.url()).await;
    // As an earlier version has left it.
    let sql = format!(
        "drop table purchases_clock, purchases_waiting, purchases_settings; update shop_schema set version = 1;
         grant all on purchases, shop_schema to {role}"
    );
    owner.batch_execute(&sql).await.unwrap();
    let options = |url: &str| PostgresStoreOptions::new(url).create_schema(false);
    let error = PostgresStore::open(options(&as_role))
        .await
        .unwrap()
        .inspect()
        .await
        .unwrap_err();
    let missing = error.context("missing").unwrap();
    assert!(
        missing.starts_with("CREATE on schema") && !missing.contains(','),
        "{error}"
    );
    drop_role(&owner, &role).await;
}

#[tokio::test]
async fn a_url_is_shown_with_all_hosts_and_without_password() {
    let opened = |url: &str| PostgresStore::open(PostgresStoreOptions::new(url));
    for (url, expected) in [
        ("postgresql://u:p%40ss@h/x", "h:5432/x"),
        ("postgresql://a:1,b:2/x", "a:1,b:2/x"),
        (
            "postgresql://u@a,b/x?target_session_attrs=read-write",
            "a:5432,b:5432/x",
        ),
        ("postgresql://%2Frun%2Fpg/x", "/run/pg:5432/x"),
        (
            "postgresql:///x?hostaddr=127.0.0.1,127.0.0.2&user=u&port=7",
            "127.0.0.1:7,127.0.0.2:7/x",
        ),
    ] {
        assert_eq!(opened(url).await.unwrap().name(), expected);
    }
    for url in [
        "postgresql://u:p@hunter2@h/x",
        "postgresql://u:p@hunter2/4@h:5432/x",
        "postgresql://u:p@h?x@hunter2=1",
        "postgresql://h/x?user=u&password=p@hunter2",
    ] {
        let error = opened(url).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Invalid && !format!("{error:?}").contains("hunter2"),
            "{error:?}"
        );
        assert!(error.to_string().contains("%40"), "{error}");
    }
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
    let error = check("postgresql://h:port/shop".to_owned())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
}

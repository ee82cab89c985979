//! Rows that the server rejects or skips, other writers, and servers that refuse.

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use shop_core::ports::PurchaseQueryExt as _;

use super::connection::Statement;
use super::fixture::{
    PostgresFixture, drop_role, fresh_schema, of_new_role, session, skip_rows, until, with_option,
    with_setting,
};
use super::{PostgresStore, PostgresStoreOptions};
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
    let inspection = store.inspect().await.unwrap();
    let error = inspection.check_writable().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains(reason), "{error}");
}

/// A trigger that returns null makes the server skip a row without an error.
#[tokio::test]
async fn rejected_and_skipped_rows_are_not_stored_and_the_others_are() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let sql = "alter table purchases add constraint own check (price not in (7.5, 600.5))";
    run(fixture.url(), sql).await;
    let client = session(fixture.url()).await;
    skip_rows(&client, "insert", "purchases", "new.price in (3.5, 599.5)").await;
    let store = fixture.postgres();
    let all = purchases(1_000);

    // The second batch is inserted by the statement that looks for repetitions.
    for numbers in [0..1_000, 590..610] {
        let outcomes = store.apply(all[numbers.clone()].into()).await.unwrap();
        for (number, outcome) in numbers.zip(outcomes) {
            match outcome {
                InsertOutcome::Rejected(reason) if [7, 600].contains(&number) => {
                    assert!(reason.detail().contains("23514"), "{reason}");
                }
                InsertOutcome::Unknown(error) if [3, 599].contains(&number) => {
                    let text = error.message();
                    assert!(text.contains("a trigger has skipped it"), "{error}");
                }
                outcome => {
                    let is_sound = ![3, 7, 599, 600].contains(&number);
                    assert!(is_sound, "{number}: {outcome:?}");
                    assert_stored(&[outcome]);
                }
            }
        }
    }
    assert_eq!(count(&store).await, 996);
}

#[tokio::test]
async fn a_skipped_erasure_is_an_error() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases(10);
    store.apply(Arc::from(&all[..5])).await.unwrap();
    let client = session(fixture.url()).await;
    skip_rows(&client, "insert", "purchases", "new.userid is null").await;
    let ids: Vec<_> = all.iter().map(|purchase| purchase.id).collect();
    let error = store.mark_erased(&ids).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let marked = store.mark_erased(&ids[..5]).await;
    assert_eq!(marked.unwrap(), 0, "they are stored");

    run(fixture.url(), "drop trigger skip on purchases").await;
    skip_rows(&client, "update", "purchases", "true").await;
    store.erase(&all[1].user_id, 100).await.unwrap_err();
    skip_rows(&client, "delete", "purchases", "true").await;
    let deleted = store
        .delete_before(SystemClock.now(), 100, Deletion::Delete)
        .await;
    deleted.unwrap_err();
    assert_eq!(count(&store).await, 5);
}

#[tokio::test]
async fn an_encoding_that_cannot_hold_every_name_is_refused() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fixture.server_url().split('?').next().unwrap();
    let (server, _database) = url.rsplit_once('/').unwrap();
    for (encoding, refused) in [("LATIN1", Some("LATIN1")), ("SQL_ASCII", None)] {
        let name = format!("encoded_{}", SystemClock.fresh_id().simple());
        let create =
            format!("create database {name} encoding '{encoding}' locale 'C' template template0");
        run(url, &create).await;
        let options = PostgresStoreOptions::new(format!("{server}/{name}")).create_schema(false);
        let store = PostgresStore::open(options).await.unwrap();
        let error = store.inspect().await.unwrap().check_writable().err();
        let named = error.as_ref().and_then(|error| error.context("encoding"));
        assert_eq!(named, refused, "{error:?}");
        drop(store);
        run(url, &format!("drop database {name} with (force)")).await;
    }
}

/// A table that a restore has left without its index, that another role protects, or that is not a
/// table: each start names it, before a purchase is lost or doubled.
#[tokio::test]
async fn a_table_that_loses_doubles_or_hides_rows_is_refused() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fixture.url();
    let loose = format!("loose_{}", SystemClock.fresh_id().simple());
    for (damage, repair, fault) in [
        (
            "alter table purchases drop constraint purchases_pkey",
            "alter table purchases add primary key (id)",
            "create a unique index on id (table=purchases)",
        ),
        (
            "alter table purchases_waiting drop constraint purchases_waiting_pkey;
             create index by_sequence on purchases_waiting (sequence)",
            "create unique index on purchases_waiting (sequence)",
            "create a unique index on sequence (table=purchases_waiting)",
        ),
        (
            "alter table purchases set unlogged",
            "alter table purchases set logged",
            "`set logged` (table=purchases)",
        ),
        (
            &format!(
                "create collation {loose} (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                 alter table purchases alter column userid type text collate {loose}"
            ),
            "alter table purchases alter column userid type text collate \"C\"",
            "give userid the collation \"C\" (table=purchases)",
        ),
        (
            "alter table purchases_settings rename to settings;
             create view purchases_settings as select * from settings",
            "drop view purchases_settings; alter table settings rename to purchases_settings",
            "a view in place of a table",
        ),
    ] {
        run(url, damage).await;
        let error = open(url).await.inspect().await.unwrap().check_writable();
        let text = error.unwrap_err().to_string();
        assert!(text.contains(fault), "{text}");
        run(url, repair).await;
    }

    let rule = "create rule none as on delete to purchases do instead nothing";
    run(url, rule).await;
    let inspection = fixture.postgres().inspect().await.unwrap();
    inspection.check_writable().unwrap();
    assert!(inspection.warnings[0].contains("rules"), "{inspection:?}");
}

#[tokio::test]
async fn row_level_security_is_refused_if_it_applies_to_the_user() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let url = fixture.url();
    let (as_role, role) = of_new_role(url).await;
    let tables = "purchases, purchases_clock, purchases_waiting, purchases_settings";
    let sql = format!(
        "grant select, insert, update, delete on {tables} to {role}; grant select on shop_schema to {role};
         alter table purchases enable row level security;
         create policy buys on purchases for insert with check (true)"
    );
    run(url, &sql).await;
    let store = open(as_role).await;
    store.check().await.unwrap();
    let error = store.inspect().await.unwrap().check_writable().unwrap_err();
    assert!(error.to_string().contains("BYPASSRLS"), "{error}");
    // It does not apply to the owner.
    let of_owner = fixture.postgres().inspect().await.unwrap();
    of_owner.check_writable().unwrap();
    drop_role(&session(url).await, &role).await;
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
    // A UUID in capitals is no id of a purchase either: it is in no page, and no query by its id finds it.
    let in_capitals = SystemClock.fresh_id();
    let row = format!(
        "insert into purchases values ('{}', 'u1', 'ada', 1, '2026-01-01T00:00:00Z')",
        in_capitals.to_string().to_uppercase()
    );
    run(fixture.url(), &row).await;
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let first = PageRequest::first(order, PageLimit::new(1).unwrap());
        let query: Arc<dyn PurchaseQuery> = Arc::new(store.clone());
        let pages: Vec<_> = query
            .pages(Selector::All, first)
            .try_collect()
            .await
            .unwrap();
        assert_eq!(pages.len(), 10, "{order:?}");
    }
    assert_eq!(store.get(&in_capitals.into()).await.unwrap(), None);
    assert_eq!(store.unreadable().load(Ordering::Relaxed), 61);
    // The table rejects what would make sums wrong.
    let client = session(fixture.url()).await;
    for row in [
        "'a', 'u1', 'ada', -1, now()",
        "'a', 'u1', 'ada', 'NaN', now()",
        "'a', 'u1', null, 1, now()",
    ] {
        let insert = format!("insert into purchases values ({row})");
        let inserted = client.batch_execute(&insert).await;
        inserted.unwrap_err();
    }
    // A sum has more digits than a price: that of eight million at the maximum.
    let large = "alter table purchases drop constraint purchases_price_check;
                 insert into purchases values ('b', 'large', 'ada', 8000000000000000000000.00000001, now())";
    run(fixture.url(), large).await;
    let user = Selector::User("large".parse().unwrap());
    let sum = store.summary(&user).await.unwrap().total_spent;
    assert_eq!(sum.to_string(), "8000000000000000000000.00000001");
}

#[tokio::test]
async fn an_erased_purchase_does_not_come_back_in_a_race() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases(400);
    let user = "u3".parse().unwrap();
    let insert_repeatedly = async |purchases: &[Purchase]| {
        for batch in purchases.chunks(40).cycle().take(50) {
            let mut outcomes = store.apply(batch.into()).await.unwrap();
            outcomes.retain(|outcome| !matches!(outcome, InsertOutcome::Erased));
            assert_stored(&outcomes);
        }
    };
    let erase_repeatedly = async {
        for _ in 0..20 {
            store.erase(&user, 5).await.unwrap();
        }
    };
    tokio::join!(
        insert_repeatedly(&all),
        insert_repeatedly(&all[50..]),
        insert_repeatedly(&all[100..]),
        erase_repeatedly,
    );

    while store.erase(&user, 10).await.unwrap().count > 0 {}
    let outcomes = store.apply(all.clone().into()).await.unwrap();
    for (purchase, outcome) in all.iter().zip(outcomes) {
        let is_erased = matches!(outcome, InsertOutcome::Erased);
        assert_eq!(is_erased, purchase.user_id == user, "{outcome:?}");
    }
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
    let lock = session(fixture.url()).await;
    let sql = "begin; lock table purchases in access exclusive mode";
    lock.batch_execute(sql).await.unwrap();
    let (insert, sum) = tokio::join!(
        store.apply(purchases(3).into()),
        store.summary(&Selector::All)
    );
    for error in [insert.map(drop).unwrap_err(), sum.map(drop).unwrap_err()] {
        assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::NotApplied);
    }
    lock.batch_execute("rollback").await.unwrap();
    assert_eq!(count(&store).await, 0);
}

/// A pooler may give the session to another client after each transaction.
#[tokio::test]
async fn writes_are_durable_and_leave_their_session_unchanged() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    for (of_session, of_writes) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        let url = with_setting(fixture.url(), "synchronous_commit", of_session);
        // One of them is for writes.
        let options = PostgresStoreOptions::new(url).max_connections(2);
        let store = PostgresStore::open(options).await.unwrap();
        store.apply(purchases(3).into()).await.unwrap();
        store.check().await.unwrap();
        let show = "show synchronous_commit";
        let rows = store.connection.write(Statement::new(show)).await.unwrap();
        assert_eq!(rows[0].get::<_, &str>(0), of_writes, "{of_session}");

        let session = store.connection.write_sessions.get().await.unwrap();
        let row = session.client.query_one(show, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), of_session);
        let sql = "select name from pg_settings where source = 'session' and setting <> reset_val";
        let changed = session.client.query(sql, &[]).await.unwrap();
        assert!(changed.is_empty(), "{changed:?}");
    }
}

#[tokio::test]
async fn connections_are_limited_and_closed_when_idle() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let name = format!("limit_{}", SystemClock.fresh_id().simple());
    let url = with_option(fixture.url(), &format!("application_name={name}"));
    let options = PostgresStoreOptions::new(url)
        .max_connections(3)
        .insert_timeout(A_MINUTE)
        .query_timeout(A_MINUTE)
        .idle_timeout(Duration::from_millis(200));
    let store = PostgresStore::open(options).await.unwrap();
    let session = session(fixture.url()).await;
    let sql = "select count(*) from pg_stat_activity where application_name = $1";
    let open_connections = async || session.query_one(sql, &[&name]).await.unwrap().get(0);

    let most = std::cell::Cell::new(0);
    let calls = purchases(40).into_iter().map(async |purchase| {
        store.apply(Arc::new([purchase])).await.unwrap();
        count(&store).await;
        most.set(most.get().max(open_connections().await));
    });
    join_all(calls).await;
    assert!((1_i64..=3).contains(&most.get()), "{most:?}");
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

/// The rules of an operator that reject a purchase, as SQL that adds and that drops the rule, with
/// the text that an error has of it.
///
/// PostgreSQL puts the values of the row into the message or the details of each of these errors.
const RULES: &[(&str, &str, &str)] = &[
    (
        "create function own() returns trigger language plpgsql as $$ begin
             raise exception 'no %', new using detail = new.userid, hint = new.username,
                 errcode = '42501', constraint = new.userid, column = new.username;
         end $$;
         create trigger own before insert or update on purchases for each row execute function own()",
        "drop function own cascade",
        "42501, in the function own",
    ),
    (
        "alter table purchases add constraint own check (price < 1000)",
        "alter table purchases drop constraint own",
        "23514, constraint own, table purchases",
    ),
    (
        "create unique index own on purchases (userid)",
        "drop index own",
        "23505, constraint own, table purchases",
    ),
    (
        "create index own on purchases ((username::int))",
        "drop index own",
        "22P02",
    ),
    (
        "create function own() returns trigger language plpgsql as $$ begin
             perform coalesce(new.userid, old.userid)::int; return new;
         end $$;
         create trigger own before insert or update on purchases for each row execute function own()",
        "drop function own cascade",
        "22P02, in the function own",
    ),
];

#[tokio::test]
async fn no_error_has_a_value_of_a_row() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let values = ["private-user", "Private Name", "9876.54"];
    let private_purchase = || {
        let new = NewPurchase::for_user(values[0])
            .with_user_name(values[1])
            .with_price(values[2])
            .unwrap();
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    };
    let check = |rule: &str, text: &str| {
        for value in values {
            assert!(!text.contains(value), "{rule}: {text}");
        }
    };

    for (add, drop, expected) in RULES {
        run(fixture.url(), "truncate purchases").await;
        run(fixture.url(), add).await;
        // The second one is rejected by the unique index too.
        let batch: Arc<[Purchase]> = [private_purchase(), private_purchase()].into();
        let applied = store.apply(Arc::clone(&batch)).await;
        let text = match &applied {
            Ok(outcomes) => format!("{outcomes:?} {outcomes:#?}"),
            Err(error) => format!("{error:?} {:#?} {}", error, error.chain()),
        };
        check(add, &text);
        assert!(text.contains(expected), "{add}: {text}");

        run(fixture.url(), drop).await;
        run(fixture.url(), "truncate purchases").await;
        store.apply(batch).await.unwrap();
        if add.contains("update") {
            run(fixture.url(), add).await;
            let erased = store.erase(&values[0].parse().unwrap(), 100).await;
            let error = erased.unwrap_err();
            check(add, &format!("{error:?} {}", error.chain()));
            run(fixture.url(), drop).await;
        }
    }
}
